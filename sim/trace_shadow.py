"""Memories as the event log tells them: every element's last write."""

import numpy as np

from .trace_log import Kind


class Shadow:
    """One memory as the log tells it, `size` elements for each token (0: any number for one token).

    Members
    -------
    value : np.ndarray
        Elements, token after token.
    stamp : np.ndarray
        0 where nothing was written yet, else 1 + the writing unit's dones before the last write.
    """

    def __init__(self, size: int, dtype: np.dtype[np.generic]):
        self.size, self.dtype = size, dtype
        self.value, self.stamp = np.zeros(0, dtype), np.zeros(0, np.int32)

    def at(self, token: np.ndarray | int, element: np.ndarray) -> np.ndarray:
        """Index of elements of a token, wrapped as the machine does; there is room for them."""
        index = token * self.size + element % self.size if self.size else element
        need = int(index.max(initial=-1)) + 1
        if need > len(self.value):
            self.value, self.stamp = (
                _grown(array, max(need, 2 * len(array))) for array in (self.value, self.stamp)
            )
        return index

    def place(self, index: int) -> tuple[int, int]:
        """Token and element of an index."""
        return divmod(index, self.size) if self.size else (0, index)


class Writes:
    """All writes of a run to one memory, element by element in order of time.

    Arrays: `index` in the shadow, `value`, `cycle`, `segment`: dones of all units before it.
    """

    def __init__(self, events: np.ndarray, segments: np.ndarray, kinds: dict[int, Kind], shadow: Shadow):
        parts = []
        for number, kind in kinds.items():
            at = np.flatnonzero(events["kind"] == number)
            values, mask = _elements(events["data"][at], kind)
            first, token = (events[name][at].astype(np.int64)[:, None] for name in ("address", "token"))
            index = shadow.at(token, first + np.arange(kind.elements))
            event = np.broadcast_to(at[:, None], mask.shape)
            parts.append((event[mask], index[mask], values[mask]))
        event, index, value = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        order = np.argsort(event, kind="stable")
        event = event[order]
        self.index, self.value = index[order], value[order]
        self.cycle, self.segment = events["cycle"][event], segments[event]

    def until(self, segment: int) -> int:
        """How many of them come before the end of a segment."""
        return int(np.searchsorted(self.segment, segment, "right"))


def _elements(data: np.ndarray, kind: Kind) -> tuple[np.ndarray, np.ndarray]:
    """Values and which of them are written, both [events, elements]."""
    size = kind.elements * kind.bits // 8
    values = np.ascontiguousarray(data[:, :size]).view(kind.dtype).reshape(-1, kind.elements)
    if not kind.strobes:
        return values, np.ones(values.shape, bool)
    return values, np.unpackbits(data[:, size:], 1, kind.elements, "little").astype(bool)


def _grown(array: np.ndarray, size: int) -> np.ndarray:
    """A longer copy; pages of it that nobody touches take no memory."""
    result = np.zeros(size, array.dtype)
    result[: len(array)] = array
    return result
