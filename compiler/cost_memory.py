"""The fetch engine and the memory behind it, burst by burst: when which byte of the tape can be taken.

Bursts are computed only when a consumer asks for their bytes. What a burst must wait for (FIFO words that
are given back, bursts in flight) lies on the tape before those bytes, so one pass in program order is enough.
Of a long run many bursts are computed at a time, as a group that is a small part of the FIFO.
"""

from collections import deque
from typing import NamedTuple, Protocol

from hw.machine import MachineConfig

from .cost import ADDRESS_INTERVAL, BEAT_TO_TAKE, RUN_TO_ADDRESS

__all__ = ["Memory", "Tape"]

#: `sim/dram.sv`: bursts that the memory itself holds.
_DEPTH = 16
_BOUNDARY = 4096
#: Bursts of a group: a part of those that the FIFO holds, and so many at most.
_PART, _MOST = 8, 64


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


class _Group(NamedTuple):
    """Bursts that follow one another on the tape, alike, at even distances.

    low: tape bytes before them; count, each: bursts, bytes of one; first, step: when the first can be taken,
    and from one to the next; words, each_words: FIFO words before them, and of one.
    """

    low: int
    count: int
    each: int
    first: float
    step: float
    words: int
    each_words: int


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
        self._unit, self._word = machine.unit_bytes, machine.fifo_bytes
        self._beat = 0.0 if fast else _stretch(memory.stall_r)
        self._address = _stretch(memory.stall_ar)
        self._latency = 0 if fast else memory.latency
        #: Least cycles from one address to the next; bursts in flight at most.
        self._interval = max(ADDRESS_INTERVAL, self._address + 1)
        self._flying = min(machine.outstanding, _DEPTH)
        self._group = self._longest_group()
        self._runs: deque[tuple[float, int, int]] = deque()
        self.accepted: list[float] = []  #: by run: the cycle in which the splitter took it
        self._left = self._at = 0
        self._next_offer = self._next_accept = 0.0
        self._groups: list[_Group] = []
        self._words = self._bytes = 0
        self._log: deque[tuple[int, int, float, float]] = deque()
        self._taken = 0
        self._taken_at: list[float] = []  #: by group: when its last byte was gone
        self._due = 0  #: group whose bytes the consumer waits for
        self._room = 0  #: first group not yet given back whole
        self._writes: deque[tuple[float, float]] = deque()
        self._refresh = float(memory.refresh_every)
        self.now = self.starved = self.last = 0.0
        self.beats = 0

    def _longest_group(self) -> int:
        """Bursts that are computed together at most: a small part of the FIFO, and no more than may be in
        flight where waiting for those binds; 1 where both are few."""
        machine, beats = self._machine, self._machine.burst_beats
        part = machine.fifo_words // (_PART * ((beats + 1) // 2))
        answer = 1 + self._address + self._latency + (beats - 1) * self._beat
        bound = answer > self._flying * max(beats * self._beat, self._interval)
        if part < (2 * self._flying if bound else 2) or _BOUNDARY % (beats * machine.bus_bytes):
            return 1
        return min(part, self._flying if bound else _MOST)

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
            while self._due == len(self._groups):
                self._burst()
            group = self._groups[self._due]
            limit = group.low + group.count * group.each
            stop = min(limit, end)
            began, time = time, time + (stop - at) / rate
            ready = group.first + 1
            if group.count > 1:
                # Bursts come evenly, so the first or the last of those that are taken holds up the consumer.
                at_first, at_last = (at - group.low) // group.each, (stop - group.low - 1) // group.each
                behind = max(0, stop - group.low - (at_first + 1) * group.each) / rate
                arrived = ready + at_first * group.step
                began = max(began, arrived - group.each / rate)
                ready = max(arrived + behind, ready + at_last * group.step)
            if time < ready:
                self.starved += ready - time
                time = ready
            self._log.append((at, stop, began, time))
            at = stop
            if at == limit:
                self._due += 1
                self._taken_at.append(time)
        self._taken, self.now = end, time
        return time

    def accepted_all(self, count: int) -> float:
        """The cycle in which the splitter took run number `count` - 1."""
        while len(self.accepted) < count:
            self._burst()
        return self.accepted[count - 1] if count else 0.0

    # --- bursts -------------------------------------------------------------------------------------------

    def _burst(self) -> None:
        """The next burst, or a group: the first and the last are computed, the others lie evenly between."""
        machine, bus = self._machine, self._machine.bus_bytes
        if not self._left:
            when, self._at, self._left = self._runs.popleft()
            taken = max(when, self._next_offer - 2)
            self.accepted.append(taken)
            self._next_offer = max(self._next_offer, taken + RUN_TO_ADDRESS - 1)
        beats = min(-(-self._left // bus), machine.burst_beats, (_BOUNDARY - self._at % _BOUNDARY) // bus)
        size, words, count = min(self._left, beats * bus), (beats + 1) // 2, 1
        if beats == machine.burst_beats and self._at % size == 0:
            count = max(1, min(self._group, self._left // size))
        answer, free = self._address + self._latency, self._words - machine.fifo_words
        bus_free = self.last + self._beat
        accept = max(self._next_offer, self._next_accept, self._landed(1))
        accept = self._given(free + words, accept, bus_free - answer)
        first = last = self._deliver(max(accept + answer, bus_free), beats)
        if count > 1:
            last = self._deliver(first + self._beat, (count - 1) * beats)
            accept = max(accept + (count - 1) * self._interval, self._landed(count))
            accept = self._given(free + count * words, accept, last - answer - (beats - 1) * self._beat)
            last = max(last, accept + answer + (beats - 1) * self._beat)
        step = (last - first) / (count - 1) if count > 1 else 0.0
        self._next_offer, self._next_accept = (
            accept + ADDRESS_INTERVAL,
            accept + self._address + 1,
        )  # AR taken
        self.last = last
        self.beats += count * beats
        self._groups.append(_Group(self._bytes, count, size, first + BEAT_TO_TAKE, step, self._words, words))
        self._words, self._bytes = self._words + count * words, self._bytes + count * size
        self._at, self._left = self._at + count * beats * bus, self._left - count * size

    def _landed(self, number: int) -> float:
        """The first cycle in which few enough bursts are in flight for the ``number``-th from here on.

        0 where it waits for one of the same group, which then does not bind (`_longest_group`).
        """
        back = self._flying - number  #: bursts between the one that is waited for and the next one
        at = len(self._groups) - 1
        while back >= 0 and at >= 0:
            group = self._groups[at]
            if back < group.count:
                return group.first - BEAT_TO_TAKE + (group.count - 1 - back) * group.step + 1
            back, at = back - group.count, at - 1
        return 0.0

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

    def _given(self, words: int, accept: float, hidden: float) -> float:
        """``accept``, or the later cycle in which the FIFO has given back so many words in all.

        hidden: up to this cycle it makes no difference; whether it is later is looked at roughly first.
        """
        if words <= 0:
            return accept
        group = self._groups[self._room]
        while group.words + group.count * group.each_words < words:
            self._room += 1
            group = self._groups[self._room]
        if self._room < self._due and self._taken_at[self._room] < max(accept, hidden):
            return accept
        burst = (words - group.words - 1) // group.each_words
        end_bytes, arrived = group.low + (burst + 1) * group.each, group.first + burst * group.step
        end_words = group.words + (burst + 1) * group.each_words
        # The first byte of the word that must go; it goes when less than a unit would remain.
        start = end_bytes - (end_words - words + 1) * self._word
        return max(accept, arrived + 1, self._gone(start - self._unit + 1) + 1)

    def _gone(self, byte: int) -> float:
        """When the consumers have taken all before `byte`."""
        if byte <= 0:
            return 0.0
        while len(self._log) > 1 and self._log[0][1] < byte:
            self._log.popleft()
        low, high, began, ended = self._log[0]
        share = min(1.0, max(0.0, (byte - low) / (high - low)))
        return began + share * (ended - began)
