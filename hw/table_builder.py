"""Builders of the look-up tables: all signed sums of a few activations, in Gray order."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .activation_groups import group_layout
from .shared import SharedComponent, shared
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


class SplitBuilder(SharedComponent):
    """Builds both tables of one group of activations, of all tokens.

    Parameters
    ----------
    tokens : int
        Groups side by side.

    Members
    -------
    live : In(tokens)
        Tokens that take part; what the others have stays as it is.
    load, group : In(1), In(ArrayLayout(40, tokens))
        Hold these five activations of each token, the first lowest; the entries are those of trits -1.
    en, digit, down : In(1), In(0..2), In(1)
        Otherwise add that activation of the first three, and of the last two, to the entries, or subtract it.
    three, two : Out(ArrayLayout(signed(10), tokens)), Out(ArrayLayout(signed(9), tokens))
        The entries.
    """

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        super().__init__({
            "live": In(tokens),
            "load": In(1),
            "group": In(data.ArrayLayout(8 * TRITS_PER_BYTE, tokens)),
            "en": In(1),
            "digit": In(range(3)),
            "down": In(1),
            "three": Out(data.ArrayLayout(signed(THREE_BITS), tokens)),
            "two": Out(data.ArrayLayout(signed(TWO_BITS), tokens)),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for t in range(self.tokens):
            group = data.View(data.ArrayLayout(signed(8), TRITS_PER_BYTE), self.group[t])
            held = Signal(group.shape(), name=f"held{t}", reset_less=True)
            three = Signal(signed(THREE_BITS), name=f"three{t}", reset_less=True)
            two = Signal(signed(TWO_BITS), name=f"two{t}", reset_less=True)
            with m.If(self.live[t] & self.load):
                m.d.sync += [
                    held.eq(group),
                    three.eq(-(group[0] + group[1] + group[2])),
                    two.eq(-(group[3] + group[4])),
                ]
            with m.If(self.live[t] & self.en):
                change_three = Mux(self.digit == 0, held[0], Mux(self.digit == 1, held[1], held[2]))
                change_two = Mux(self.digit == 0, held[3], held[4])
                m.d.sync += [
                    three.eq(Mux(self.down, three - change_three, three + change_three)),
                    two.eq(Mux(self.down, two - change_two, two + change_two)),
                ]
            m.d.comb += [self.three[t].eq(three), self.two[t].eq(two)]
        return m


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
    live : In(tokens)
        As in `TableSet`; only their entries are built.
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
            "live": In(tokens, init=-1),  # pyright: ignore[reportCallIssue]
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

        for i in range(self.tables):
            builder = SplitBuilder(self.tokens)
            m.submodules[f"table{i}"] = shared(builder, platform)
            m.d.comb += [
                builder.live.eq(self.live),
                builder.load.eq(self.groups.valid & self.groups.ready & (loaded == i)),
                builder.group.eq(self.groups.p.activations),
                builder.en.eq(self.write_three),
                builder.digit.eq(digit),
                builder.down.eq(down),
                self.three[i].eq(builder.three),
                self.two[i].eq(builder.two),
            ]
        return m
