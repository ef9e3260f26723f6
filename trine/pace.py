"""Doorbells of a board: as many steps as end within about the time in which text is seen to come."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from sim.backend import Backend, OnBoard

from .generate import Plan

__all__ = ["clock_of", "paced"]

#: Seconds of a doorbell on a board, about: text is seen as it comes.
_SHOWN = 0.5


@dataclass(frozen=True)
class _Paced(Plan):
    """Doorbells of about `_SHOWN` seconds; pace: seconds of a step, 0 where it is not known yet."""

    pace: Callable[[], float] = lambda: 0.0

    @property
    def group(self) -> int:
        most, step = super().group, self.pace()
        return max(1, min(most, int(_SHOWN / step))) if step and not self.steps else most


def paced(plan: Plan, backend: Backend) -> Plan:
    """The plan for this backend: that of a board follows its pace, others are as they were."""
    if not isinstance(backend, OnBoard):
        return plan
    board = backend
    values = {field.name: getattr(plan, field.name) for field in dataclasses.fields(plan)}
    return _Paced(**values, pace=lambda: board.pace)


def clock_of(backend: Backend) -> float | None:
    """MHz of a board's machine; None where the backend is none."""
    return backend.clock_mhz if isinstance(backend, OnBoard) else None
