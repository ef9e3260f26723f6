"""The order in which the builders of all tokens build the tables of one; each token's place holds a part."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .shared import SharedComponent
from .trit_decode import TRITS_PER_BYTE

__all__ = [
    "NOTHING", "PairPlaces", "SoloPlace", "SoloWalk", "lanes_used", "shared_places", "solo_cycles", "sweeps",
]  # fmt: skip

#: The first trits of a code are swept, the others stay during a sweep.
_SWEPT = 2
_SWEEP, _BLOCKS = 3**_SWEPT, 3 ** (TRITS_PER_BYTE - _SWEPT)
#: Addresses of a sweep.
_ADDRESSES = 16
_CODES = _SWEEP * _BLOCKS
#: Address of a byte that is no code: it always holds the entry of activations 0.
NOTHING = 255
_THREE = 27
_TRIT_MIDDLE = 1


def sweeps(lanes: int) -> int:
    """Sweeps of a lane: it takes turns with the others at the values of the last three trits."""
    return -(-_BLOCKS // lanes)


def lanes_used(lanes: int) -> int:
    """Lanes that have any."""
    return -(-_BLOCKS // sweeps(lanes))


def solo_cycles(lanes: int) -> int:
    """Cycles of a walk: five steps to the first entries, then all entries of a lane."""
    return TRITS_PER_BYTE + _SWEEP * sweeps(lanes)


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


def places(lanes: int) -> list[tuple[int, int]]:
    """For each byte the lane that has its entry, and the address there; bytes that are no codes stay."""
    three, two = _gray(3), _gray(2)
    swept, block = ({trits: i for i, trits in enumerate(_gray(n))} for n in (_SWEPT, TRITS_PER_BYTE - _SWEPT))
    found = []
    for code in range(256):
        if code >= _CODES:
            found.append((0, code))
            continue
        trits = three[code % _THREE] + two[code // _THREE]
        lane, sweep = divmod(block[trits[_SWEPT:]], sweeps(lanes))
        found.append((lane, _ADDRESSES * sweep + swept[trits[:_SWEPT]]))
    return found


def shared_places(lanes: int, part: int) -> list[tuple[int, int]]:
    """`places` in one of two tables, the lanes of which build the entries of one group together."""
    return [
        (lane % lanes, address) if lane // lanes == part or code >= _CODES else (0, NOTHING)
        for code, (lane, address) in enumerate(places(2 * lanes))
    ]


class SoloPlace(SharedComponent):
    """Where `SoloWalk` puts the entry of a code; combinational, a table of 256.

    Parameters
    ----------
    lanes : int
        As of `SoloWalk`.

    Members
    -------
    byte : In(8)
        A code, or not.
    lane, address : Out(range(lanes_used(lanes))), Out(8)
        As `places` has them.
    """

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__({"byte": In(8), "lane": Out(range(lanes_used(lanes))), "address": Out(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = len(self.lane)
        table = [lane | address << bits for lane, address in places(self.lanes)]
        m.submodules.table = memory = Memory(shape=bits + 8, depth=len(table), init=table)
        port = memory.read_port(domain="comb")
        m.d.comb += [
            port.addr.eq(self.byte),
            self.lane.eq(port.data[:bits]),
            self.address.eq(port.data[bits:]),
        ]
        return m


class PairPlaces(SharedComponent):
    """Where the entries of two bytes lie; a block RAM of 18 kbit, both of whose ports read.

    Parameters
    ----------
    lanes : int
        As of `SoloWalk`.
    part : int
        Which of the two tables that share the entries of a group: 0 or 1.

    Members
    -------
    en : In(1)
        A pair is taken.
    bytes, alone : In(ArrayLayout(8, 2)), In(1)
        Codes, or not; whether `SoloWalk` built the entries, or the bytes are the addresses.
    shares : In(1)
        A `SoloWalk` of twice the lanes did, those of two tables: an entry that the other one has is found at
        `NOTHING`. Only while ``alone``.
    lane, address : Out(ArrayLayout(range(lanes), 2)), Out(ArrayLayout(8, 2))
        As `places` has them, of the pair before.
    """

    def __init__(self, lanes: int, part: int = 0) -> None:
        self.lanes, self.part = lanes, part
        super().__init__({
            "en": In(1),
            "bytes": In(data.ArrayLayout(8, 2)),
            "alone": In(1),
            "shares": In(1),
            "lane": Out(data.ArrayLayout(range(lanes), 2)),
            "address": Out(data.ArrayLayout(8, 2)),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = len(self.lane[0])
        table = [code << bits for code in range(256)]
        table += [lane | address << bits for lane, address in places(self.lanes)]
        table += table[:256] + [
            lane | address << bits for lane, address in shared_places(self.lanes, self.part)
        ]
        m.submodules.table = memory = Memory(
            shape=bits + 8, depth=len(table), init=table,
            attrs={"ram_style": "block", "rom_style": "block"},  # pyright: ignore[reportArgumentType]
        )  # fmt: skip
        for i in range(2):
            port = memory.read_port()
            m.d.comb += [
                port.en.eq(self.en),
                port.addr.eq(Cat(self.bytes[i], self.alone, self.shares)),
                self.lane[i].eq(port.data[:bits]),
                self.address[i].eq(port.data[bits:]),
            ]
        return m


class SoloWalk(wiring.Component):
    """As `ByteWalk`, but lane l builds the entries whose last three trits have Gray positions l * P to
    (l + 1) * P - 1, P = ``sweeps(lanes)``: all lanes at the same time, in `solo_cycles`.

    The first two trits sweep up, then down, for all lanes alike; between two sweeps one of the others moves.
    The entry of a sweep whose first two trits have Gray position n lies at n + 16 * sweep.

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
        lanes, each, swept, block = self.lanes, sweeps(self.lanes), _gray(_SWEPT), _gray(3)

        def row(changes: list[tuple[int, int]], write: int = 0, address: int = 0) -> dict[str, object]:
            """changes: (digit, change) of each lane."""
            return {
                "write": write,
                "address": address,
                "step": sum((change != 0) << t for t, (_, change) in enumerate(changes)),
                "digit": [digit for digit, _ in changes],
                "down": sum((change < 0) << t for t, (_, change) in enumerate(changes)),
            }

        none: tuple[int, int] = (0, 0)
        begun = [block[min(t * each, _BLOCKS - 1)] for t in range(lanes)]
        found = [row([(digit, -1)] * lanes) for digit in range(_SWEPT)]
        found += [
            row([(_SWEPT + i, begun[t][i] - _TRIT_MIDDLE) for t in range(lanes)])
            for i in range(TRITS_PER_BYTE - _SWEPT)
        ]
        for sweep in range(each):
            order = range(_SWEEP)[:: 1 if sweep % 2 == 0 else -1]
            for at, place in enumerate(order):
                changes: list[tuple[int, int]]
                if at + 1 < _SWEEP:
                    changes = [_step(swept[place], swept[order[at + 1]], 0)] * lanes
                elif sweep + 1 < each:
                    now = [t * each + sweep for t in range(lanes)]
                    changes = [
                        _step(block[n], block[n + 1], _SWEPT) if n + 1 < _BLOCKS else none for n in now
                    ]
                else:
                    changes = [none] * lanes
                found.append(row(changes, 1, _ADDRESSES * sweep + place))
        return found

    def elaborate(self, platform: object) -> Module:
        m = Module()
        steps = self.steps()
        init: Any = steps  # rows of the layout
        m.submodules.steps = memory = Memory(shape=self.layout, depth=len(steps), init=init)
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
