"""The order in which the builders of all tokens build the tables of one; each token's place holds a part."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .trit_decode import THREE_ENTRIES, TRITS_PER_BYTE, TWO_ENTRIES

__all__ = ["SWEEP_ADDRESSES", "SoloWalk", "lanes_used", "solo_cycles", "sweeps"]

#: Addresses of a sweep through the first three trits.
SWEEP_ADDRESSES = 32
_TRIT_MIDDLE = 1


def sweeps(lanes: int) -> int:
    """Positions of the last two trits that a lane builds, one sweep for each: 9 shared by the lanes."""
    return -(-TWO_ENTRIES // lanes)


def lanes_used(lanes: int) -> int:
    """Lanes that have any."""
    return -(-TWO_ENTRIES // sweeps(lanes))


def solo_cycles(lanes: int) -> int:
    """Cycles of a walk: five steps to the first entries, then all entries of a lane."""
    return TRITS_PER_BYTE + THREE_ENTRIES * sweeps(lanes)


def _gray(digits: int) -> list[tuple[int, ...]]:
    """All values of so many trits, 0 to 2 each, in Gray order: the first trit that is not at the end of its
    sweep moves, and those before it turn round (Knuth, TAOCP 7.2.1.1)."""
    trits, falls, found = [0] * digits, [False] * digits, []
    while True:
        found.append(tuple(trits))
        i = 0
        while i < digits and trits[i] == (0 if falls[i] else 2):
            falls[i] = not falls[i]
            i += 1
        if i == digits:
            return found
        trits[i] += -1 if falls[i] else 1


def _step(before: tuple[int, ...], after: tuple[int, ...], first: int) -> tuple[int, int]:
    """(digit, change) between neighbours, digits counted from ``first``."""
    changes = [(first + i, b - a) for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    (change,) = changes
    return change


class SoloWalk(wiring.Component):
    """As `ByteWalk`, but lane l builds the entries whose last two trits have Gray positions l * P to
    (l + 1) * P - 1, P = ``sweeps(lanes)``: all lanes at the same time, in `solo_cycles`.

    A code is three + 27 * two, Gray positions; its entry is that of lane two // P at the address three +
    32 * (two mod P). The first three trits sweep up, then down; between two sweeps the last two move by one.

    Parameters
    ----------
    lanes : int
        Builders side by side, 2 or more.

    Members
    -------
    en : In(1)
        The walk goes on in cycles in which this is 1.
    step, digit, down : Out(lanes), Out(ArrayLayout(3, lanes)), Out(lanes)
        At the end of this cycle the lane's entry changes by that activation, subtracted if ``down``.
    write, address : Out(1), Out(8)
        The entries are those of ``address``.
    ends : Out(1)
        The last ones; the next cycle begins another walk.
    """

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self.layout = data.StructLayout({
            "write": 1,
            "address": 8,
            "step": lanes,
            "digit": data.ArrayLayout(range(TRITS_PER_BYTE), lanes),
            "down": lanes,
        })  # fmt: skip
        super().__init__({
            "en": In(1),
            "step": Out(lanes),
            "digit": Out(data.ArrayLayout(range(TRITS_PER_BYTE), lanes)),
            "down": Out(lanes),
            "write": Out(1),
            "address": Out(8),
            "ends": Out(1),
        })  # fmt: skip

    def steps(self) -> list[dict[str, object]]:
        """What the members are in each cycle of a walk."""
        lanes, each, three, two = self.lanes, sweeps(self.lanes), _gray(3), _gray(2)

        def row(changes: list[tuple[int, int]], write: int = 0, address: int = 0) -> dict[str, object]:
            """changes: (digit, change) of each lane."""
            return {
                "write": write,
                "address": address,
                "step": sum((change != 0) << t for t, (_, change) in enumerate(changes)),
                "digit": [digit for digit, _ in changes],
                "down": sum((change < 0) << t for t, (_, change) in enumerate(changes)),
            }

        none = (0, 0)
        begun = [two[min(t * each, TWO_ENTRIES - 1)] for t in range(lanes)]
        found = [row([(digit, -1)] * lanes) for digit in range(3)]
        found += [row([(3 + i, begun[t][i] - _TRIT_MIDDLE) for t in range(lanes)]) for i in range(2)]
        for sweep in range(each):
            order = range(THREE_ENTRIES)[:: 1 if sweep % 2 == 0 else -1]
            for at, place in enumerate(order):
                if at + 1 < THREE_ENTRIES:
                    changes = [_step(three[place], three[order[at + 1]], 0)] * lanes
                elif sweep + 1 < each:
                    now = [t * each + sweep for t in range(lanes)]
                    changes = [_step(two[n], two[n + 1], 3) if n + 1 < TWO_ENTRIES else none for n in now]
                else:
                    changes = [none] * lanes
                found.append(row(changes, 1, SWEEP_ADDRESSES * sweep + place))
        return found

    def elaborate(self, platform: object) -> Module:
        m = Module()
        steps = self.steps()
        m.submodules.steps = memory = Memory(shape=self.layout, depth=len(steps), init=steps)
        port = memory.read_port(domain="comb")
        at = Signal(range(len(steps)))
        m.d.comb += [
            port.addr.eq(at),
            *(getattr(self, name).eq(port.data[name]) for name in self.layout.members),
            self.ends.eq(at == len(steps) - 1),
        ]
        with m.If(self.en):
            m.d.sync += at.eq(at + 1)
            with m.If(self.ends):
                m.d.sync += at.eq(0)
        return m
