"""The fetch engine and the memory behind it, burst by burst: when which byte of the tape can be taken.

Bursts are computed only when a consumer asks for their bytes. What a burst must wait for (FIFO words that are
given back, bursts in flight) lies on the tape before those bytes, so one pass in program order is enough.
"""

from collections import deque
from typing import Protocol

from hw.machine import MachineConfig

from .cost import ADDRESS_INTERVAL, BEAT_TO_TAKE, RUN_TO_ADDRESS

__all__ = ["Memory", "Tape"]

#: `sim/dram.sv`: bursts that the memory itself holds.
_DEPTH = 16
_BOUNDARY = 4096


class Memory(Protocol):
    """Timing of a memory, as `sim.dram.DramParams` has it: cycles, and probabilities in 1024."""

    @property
    def latency(self) -> int: ...
    @property
    def write_latency(self) -> int: ...
    @property
    def turn(self) -> int: ...
    @property
    def refresh_every(self) -> int: ...
    @property
    def refresh_cycles(self) -> int: ...
    @property
    def stall_r(self) -> int: ...
    @property
    def stall_ar(self) -> int: ...
    @property
    def stall_aw(self) -> int: ...
    @property
    def stall_w(self) -> int: ...


def _stretch(probability: int) -> float:
    """Cycles that an event takes in the mean, where each is refused with a probability in 1024."""
    return 1024 / (1024 - probability)


class Tape:
    """Runs of memory in, bytes out in order.

    Parameters
    ----------
    machine: sizes of bus, FIFO and bursts.
    memory: its timing.
    fast: the memory delivers a whole burst at once and needs no time to answer (to see what binds).

    Members
    -------
    now: the cycle in which the byte taken last is gone.
    starved: cycles in which a consumer waited for bytes.
    beats: read beats so far.
    last: cycle of the last beat.
    """

    def __init__(self, machine: MachineConfig, memory: Memory, fast: bool = False) -> None:
        self._machine, self._memory, self._fast = machine, memory, fast
        self._beat = 0.0 if fast else _stretch(memory.stall_r)
        self._address = _stretch(memory.stall_ar)
        self._latency = 0 if fast else memory.latency
        self._runs: deque[tuple[float, int, int]] = deque()
        self.accepted: list[float] = []  #: by run: the cycle in which the splitter took it
        self._left = self._at = 0
        self._next_offer = self._next_accept = 0.0
        self._lasts: list[float] = []
        self._ends: list[tuple[int, int, float]] = []  #: by burst: tape bytes, FIFO words, both so far; time
        self._words = self._bytes = 0
        self._log: deque[tuple[int, int, float, float]] = deque()
        self._taken = 0
        self._due = 0  #: burst whose end the consumer waits for
        self._room = 0  #: first burst not yet given back whole
        self._writes: deque[tuple[float, float]] = deque()
        self._refresh = float(memory.refresh_every)
        self.now = self.starved = self.last = 0.0
        self.beats = 0

    def append(self, when: float, address: int, size: int) -> None:
        """A run that the fetch engine sees from cycle `when` on."""
        self._runs.append((when, address, size))

    def write(self, when: float, cycles: float) -> None:
        """The data bus is lost to reads for so many cycles from `when` on."""
        if not self._fast:
            self._writes.append((when, cycles))

    def written(self, start: float, cycles: float) -> float:
        """When so many cycles of writing from `start` on are over: none passes during a refresh."""
        memory = self._memory
        if not memory.refresh_every or self._fast:
            return start + cycles
        every, lost = memory.refresh_every, memory.refresh_cycles
        period, within = divmod(start, every)
        if period and within < lost:
            start += lost - within
        end = start + cycles
        following = (start // every + 1) * every
        while following < end:
            end, following = end + lost, following + every
        return end

    def take(self, size: int, rate: float, start: float) -> float:
        """Take `size` bytes, `rate` a cycle at most, from cycle `start` on; the cycle after the last of them.

        A rate of infinity takes what is there at once.
        """
        end, time, at = self._taken + size, start, self._taken
        while at < end:
            while self._due == len(self._ends):
                self._burst()
            limit, _, arrived = self._ends[self._due]
            part = min(limit, end) - at
            began, time = time, time + part / rate
            if time < arrived + 1:
                self.starved += arrived + 1 - time
                time = arrived + 1
            self._log.append((at, at + part, began, time))
            at += part
            if at == limit:
                self._due += 1
        self._taken, self.now = end, time
        return time

    def accepted_all(self, count: int) -> float:
        """The cycle in which the splitter took run number `count` - 1."""
        while len(self.accepted) < count:
            self._burst()
        return self.accepted[count - 1] if count else 0.0

    # --- one burst ----------------------------------------------------------------------------------------

    def _burst(self) -> None:
        machine, bus = self._machine, self._machine.bus_bytes
        if not self._left:
            when, self._at, self._left = self._runs.popleft()
            taken = max(when, self._next_offer - 2)
            self.accepted.append(taken)
            self._next_offer = max(self._next_offer, taken + RUN_TO_ADDRESS - 1)
        beats = min(-(-self._left // bus), machine.burst_beats, (_BOUNDARY - self._at % _BOUNDARY) // bus)
        size, words = min(self._left, beats * bus), (beats + 1) // 2
        accept = max(self._next_offer, self._next_accept)
        for held in (machine.outstanding, _DEPTH):
            if len(self._lasts) >= held:
                accept = max(accept, self._lasts[-held] + 1)
        accept = max(accept, self._given(self._words + words - machine.fifo_words))
        address = accept + self._address  # AR taken
        self._next_offer, self._next_accept = accept + ADDRESS_INTERVAL, address + 1
        self.last = self._deliver(max(address + self._latency, self.last + self._beat), beats)
        self._lasts.append(self.last)
        self.beats += beats
        self._words, self._bytes = self._words + words, self._bytes + size
        self._ends.append((self._bytes, self._words, self.last + BEAT_TO_TAKE))
        self._at, self._left = self._at + beats * bus, self._left - size

    def _deliver(self, first: float, beats: int) -> float:
        """The cycle of the last of so many beats, the first not before `first`."""
        if self._fast:
            return first
        memory, left = self._memory, float(beats - 1)
        while self._writes and self._writes[0][0] <= first:
            when, lost = self._writes.popleft()
            first = max(first, min(first + lost, when + lost) if when + lost > self.last else first + lost)
        if memory.refresh_every:
            while self._refresh + memory.refresh_cycles <= first:
                self._refresh += memory.refresh_every
            if self._refresh <= first:
                first = self._refresh + memory.refresh_cycles
                self._refresh += memory.refresh_every
        end = first + left * self._beat
        while True:
            refresh = self._refresh if memory.refresh_every else float("inf")
            write = self._writes[0][0] if self._writes else float("inf")
            if min(refresh, write) >= end:
                return end
            if refresh <= write:
                end += memory.refresh_cycles
                self._refresh += memory.refresh_every
            else:
                end += self._writes.popleft()[1]

    def _given(self, words: int) -> float:
        """The first cycle in which the FIFO has given back so many words in all."""
        if words <= 0:
            return 0.0
        while self._ends[self._room][1] < words:
            self._room += 1
        end_bytes, end_words, arrived = self._ends[self._room]
        # The first byte of the word that must go; it goes when less than a unit would remain.
        start = end_bytes - (end_words - words + 1) * self._machine.fifo_bytes
        return max(arrived, self._gone(start - self._machine.unit_bytes + 1)) + 1

    def _gone(self, byte: int) -> float:
        """When the consumers have taken all before `byte`."""
        if byte <= 0:
            return 0.0
        while len(self._log) > 1 and self._log[0][1] < byte:
            self._log.popleft()
        low, high, began, ended = self._log[0]
        share = min(1.0, max(0.0, (byte - low) / (high - low)))
        return began + share * (ended - began)
