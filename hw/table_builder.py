"""Builders of the look-up tables: all signed sums of a few activations, in Gray order."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .activation_groups import group_layout
from .trit_decode import THREE_ENTRIES, TRITS_PER_BYTE, TWO_ENTRIES

__all__ = ["THREE_BITS", "TWO_BITS", "TableBuilder", "gray_steps"]

#: Bits of a sum of three activations, which are within +-127, and of two.
THREE_BITS = 10
TWO_BITS = 9


def gray_steps(digits: int) -> tuple[tuple[int, int], ...]:
    """(digit, +1 or -1) of each step through the reflected ternary Gray order, first digit fastest.

    The order begins with all trits -1. Each digit sweeps up, then down, once for each value of the later
    digits. (Knuth, TAOCP 7.2.1.1, reflected mixed-radix Gray code.)
    """
    if digits == 0:
        return ()
    steps: list[tuple[int, int]] = []
    later = gray_steps(digits - 1)
    for sweep in range(3 ** (digits - 1)):
        steps += [(0, 1 if sweep % 2 == 0 else -1)] * 2
        steps += [(digit + 1, sign) for digit, sign in later[sweep : sweep + 1]]
    return tuple(steps)


class TableBuilder(wiring.Component):
    """Builds the tables of one chunk of activations, all of all tokens at the same time.

    A group of five activations makes a table of 27 entries (its first three) and one of 9 (its last two).
    Entries follow in Gray order, so each is the one before plus or minus one activation: one adder a table.
    The order of two digits is the beginning of that of three, so all adders obey the same steps.
    TeLLMe v2, section 3.2, for tables built on line; Knuth, TAOCP 7.2.1.1, for the order.

    Takes a group a cycle until it has ``tables`` of them or the last of the vector, then 27 cycles to write
    the tables, from the first cycle in which ``free`` is 1.

    Parameters
    ----------
    tables : int
        Groups of a chunk at most.
    tokens : int
        Chunks side by side.

    Members
    -------
    groups : In(stream of `group_layout(tokens)`)
        Activations, within +-127.
    free : In(1)
        The tables may be overwritten; once 1, it stays so until ``built``.
    write_three, write_two : Out(1), Out(1)
        Write entry ``entry`` of all larger, of all smaller tables.
    entry : Out(5)
        Gray position.
    three, two : Out(ArrayLayout(signed(10), tables, tokens)), Out(ArrayLayout(signed(9), tables, tokens))
        Entries to write: of each table, of each token. Those of tables from ``bytes`` on mean nothing.
    built : Out(1)
        The last entry is being written.
    bytes : Out(0..tables)
        With ``built``: groups in this chunk.
    last : Out(1)
        With ``built``: the chunk is the last of its vector.
    """

    def __init__(self, tables: int, tokens: int) -> None:
        self.tables, self.tokens = tables, tokens
        super().__init__({
            "groups": In(stream.Signature(group_layout(tokens))),
            "free": In(1),
            "write_three": Out(1),
            "write_two": Out(1),
            "entry": Out(range(THREE_ENTRIES)),
            "three": Out(data.ArrayLayout(data.ArrayLayout(signed(THREE_BITS), tokens), tables)),
            "two": Out(data.ArrayLayout(data.ArrayLayout(signed(TWO_BITS), tokens), tables)),
            "built": Out(1),
            "bytes": Out(range(tables + 1)),
            "last": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        loaded = Signal(range(self.tables + 1))
        step = Signal(range(THREE_ENTRIES))
        digit = Signal(range(3))
        down = Signal()

        m.d.comb += [self.entry.eq(step), self.bytes.eq(loaded)]
        with m.FSM():
            with m.State("load"):
                m.d.comb += self.groups.ready.eq(1)
                with m.If(self.groups.valid):
                    m.d.sync += [loaded.eq(loaded + 1), self.last.eq(self.groups.p.last)]
                    with m.If(self.groups.p.last | (loaded == self.tables - 1)):
                        m.next = "build"
            with m.State("build"), m.If(self.free):
                m.d.comb += [self.write_three.eq(1), self.write_two.eq(step < TWO_ENTRIES)]
                m.d.sync += step.eq(step + 1)
                with m.If(step == THREE_ENTRIES - 1):
                    m.d.comb += self.built.eq(1)
                    m.d.sync += [loaded.eq(0), step.eq(0)]
                    m.next = "load"

        with m.Switch(step):
            for number, (which, sign) in enumerate(gray_steps(3)):
                with m.Case(number):
                    m.d.comb += [digit.eq(which), down.eq(sign < 0)]

        for t in range(self.tokens):
            # The first entry, all trits -1, is made once, on the way in.
            group = data.View(data.ArrayLayout(signed(8), TRITS_PER_BYTE), self.groups.p.activations[t])
            first_three = Signal(signed(THREE_BITS), name=f"first_three{t}")
            first_two = Signal(signed(TWO_BITS), name=f"first_two{t}")
            m.d.comb += [
                first_three.eq(-(group[0] + group[1] + group[2])),
                first_two.eq(-(group[3] + group[4])),
            ]

            for i in range(self.tables):
                held = Signal(group.shape(), name=f"held{t}_{i}", reset_less=True)
                three = Signal(signed(THREE_BITS), name=f"three{t}_{i}", reset_less=True)
                two = Signal(signed(TWO_BITS), name=f"two{t}_{i}", reset_less=True)
                with m.If(self.groups.valid & self.groups.ready & (loaded == i)):
                    m.d.sync += [held.eq(group), three.eq(first_three), two.eq(first_two)]
                with m.If(self.write_three):
                    change_three = Mux(digit == 0, held[0], Mux(digit == 1, held[1], held[2]))
                    change_two = Mux(digit == 0, held[3], held[4])
                    m.d.sync += [
                        three.eq(Mux(down, three - change_three, three + change_three)),
                        two.eq(Mux(down, two - change_two, two + change_two)),
                    ]
                m.d.comb += [self.three[i][t].eq(three), self.two[i][t].eq(two)]
        return m
