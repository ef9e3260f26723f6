"""Markers and paths of the whole suite."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
#: Real checkpoints and texts, which are not part of the project.
SHARED = ROOT.parent / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `shared`, aloud, where ../shared is absent."""
    if SHARED.is_dir():
        return
    absent = pytest.mark.skip(reason="SKIPPED ALOUD: ../shared with the real checkpoints and texts is absent")
    for item in items:
        if item.get_closest_marker("shared"):
            item.add_marker(absent)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of checkpoints and texts; for tests marked `shared`."""
    return SHARED


@pytest.fixture(scope="session")
def root() -> Path:
    """Top folder of the checkout."""
    return ROOT
