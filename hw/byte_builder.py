"""Builders of the tables of 243 entries: all signed sums of five activations, in the order of the codes."""

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .activation_groups import group_layout
from .table_builder import gray_steps
from .table_set import SUM_OF_FIVE_BITS
from .trit_decode import THREE_ENTRIES, TRITS_PER_BYTE, TWO_ENTRIES

__all__ = ["BYTE_ENTRIES", "ByteTableBuilder"]

#: Codes of five trits.
BYTE_ENTRIES = THREE_ENTRIES * TWO_ENTRIES


class ByteTableBuilder(wiring.Component):
    """Builds the tables of one chunk of activations, all of all tokens at the same time.

    A code is three + 27 * two, the Gray positions of the first three and of the last two trits. The small
    position sweeps up, then down, the other one moves between the sweeps: each entry is the one before plus
    or minus one activation, and the address of an entry is its code, so a byte needs no decoding. One adder a
    table and token; the first entry, all trits -1, is made by it too, in five steps.
    Knuth, TAOCP 7.2.1.1, for the order.

    Takes a group a cycle until it has ``tables`` of them or the last of the vector, then 5 cycles for the
    first entries, then 243 cycles to write, from the first cycle in which ``free`` is 1.

    Parameters
    ----------
    biases : sequence of int
        For each table what is added to its entries; no less than 635.
    tokens : int
        Chunks side by side.

    Members
    -------
    groups : In(stream of `group_layout(tokens)`)
        Activations, within +-127.
    free : In(1)
        The tables may be overwritten; once 1, it stays so until ``built``.
    write : Out(1)
        Write an entry of all tables.
    address : Out(8)
        Its code.
    value : Out(ArrayLayout(ArrayLayout(11, tokens), tables))
        Entries, of each table, of each token. Tables from ``bytes`` on have activations 0.
    built : Out(1)
        The last entry is being written.
    bytes : Out(0..tables)
        With ``built``: groups in this chunk.
    last : Out(1)
        With ``built``: the chunk is the last of its vector.
    """

    def __init__(self, biases: Sequence[int], tokens: int) -> None:
        self.biases, self.tokens = tuple(biases), tokens
        tables = len(self.biases)
        entries = data.ArrayLayout(unsigned(SUM_OF_FIVE_BITS), tokens)
        super().__init__({
            "groups": In(stream.Signature(group_layout(tokens))),
            "free": In(1),
            "write": Out(1),
            "address": Out(range(BYTE_ENTRIES)),
            "value": Out(data.ArrayLayout(entries, tables)),
            "built": Out(1),
            "bytes": Out(range(tables + 1)),
            "last": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        tables = len(self.biases)
        loaded = Signal(range(tables + 1))
        three = Signal(range(THREE_ENTRIES))
        two = Signal(range(TWO_ENTRIES))
        back = Signal()  # the small position sweeps down
        begin = Signal()  # values are the biases in the next cycle
        step = Signal()  # values change
        digit = Signal(range(TRITS_PER_BYTE))
        down = Signal()
        taken = Signal()
        first_digit = Signal.like(digit)
        digit_of_three = Signal.like(digit)
        down_of_three = Signal()
        digit_of_two = Signal.like(digit)
        down_of_two = Signal()

        # Steps of the Gray orders: number n leads from position n to n + 1.
        for name, position, steps in (("three", three - back, gray_steps(3)), ("two", two, gray_steps(2))):
            digit_of, down_of = (
                (digit_of_three, down_of_three) if name == "three" else (digit_of_two, down_of_two)
            )
            number = Signal(range(THREE_ENTRIES), name=f"step_of_{name}")
            m.d.comb += number.eq(position)
            with m.Switch(number):
                for n, (which, sign) in enumerate(steps):
                    with m.Case(n):
                        m.d.comb += [
                            digit_of.eq(which + (0 if name == "three" else 3)),
                            down_of.eq(sign < 0),
                        ]

        sweep_ends = Signal()
        m.d.comb += [
            self.bytes.eq(loaded),
            taken.eq(self.groups.valid & self.groups.ready),
            sweep_ends.eq(three == Mux(back, 0, THREE_ENTRIES - 1)),
        ]
        with m.FSM():
            with m.State("load"):
                m.d.comb += [self.groups.ready.eq(1), begin.eq(1)]
                with m.If(self.groups.valid):
                    m.d.sync += [loaded.eq(loaded + 1), self.last.eq(self.groups.p.last)]
                    with m.If(self.groups.p.last | (loaded == tables - 1)):
                        m.next = "first entry"
            with m.State("first entry"):
                m.d.comb += [step.eq(1), digit.eq(first_digit), down.eq(1)]
                m.d.sync += first_digit.eq(first_digit + 1)
                with m.If(first_digit == TRITS_PER_BYTE - 1):
                    m.d.sync += first_digit.eq(0)
                    m.next = "build"
            with m.State("build"), m.If(self.free):
                m.d.comb += [self.write.eq(1), step.eq(1)]
                with m.If(sweep_ends):
                    m.d.comb += [digit.eq(digit_of_two), down.eq(down_of_two)]
                    m.d.sync += [
                        two.eq(two + 1),
                        back.eq(~back),
                        self.address.eq(self.address + THREE_ENTRIES),
                    ]
                    with m.If(two == TWO_ENTRIES - 1):
                        m.d.comb += self.built.eq(1)
                        m.d.sync += [loaded.eq(0), three.eq(0), two.eq(0), back.eq(0), self.address.eq(0)]
                        m.next = "load"
                with m.Else():
                    m.d.comb += [digit.eq(digit_of_three), down.eq(down_of_three ^ back)]
                    m.d.sync += [
                        three.eq(Mux(back, three - 1, three + 1)),
                        self.address.eq(Mux(back, self.address - 1, self.address + 1)),
                    ]

        for t in range(self.tokens):
            group = data.View(data.ArrayLayout(signed(8), TRITS_PER_BYTE), self.groups.p.activations[t])
            for i, bias in enumerate(self.biases):
                held = Signal(group.shape(), name=f"held{t}_{i}", reset_less=True)
                value = Signal(SUM_OF_FIVE_BITS, name=f"value{t}_{i}", reset_less=True)
                with m.If(taken & (loaded == i)):
                    m.d.sync += held.eq(group)
                if i:
                    with m.If(taken & (loaded == 0)):
                        m.d.sync += held.eq(0)
                change = Signal(signed(8), name=f"change{t}_{i}")
                m.d.comb += change.eq(held[digit])
                with m.If(begin):
                    m.d.sync += value.eq(bias)
                with m.Elif(step):
                    m.d.sync += value.eq(Mux(down, value - change, value + change))
                m.d.comb += self.value[i][t].eq(value)
        return m
