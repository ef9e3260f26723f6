"""Generated pages are current, and the README's pointers lead somewhere."""

import re
from pathlib import Path

from docs.generate_cli import TARGET, page


def test_cli_reference_is_current():
    assert TARGET.read_text() == page(), "run: python -m docs.generate_cli"


def test_links_in_the_documentation_exist(root: Path):
    for document in (root / "README.md", root / "CONTRIBUTING.md", *(root / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} points to {target}"
