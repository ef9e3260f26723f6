"""Builders of the tables of 243 entries, one for each table."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .activation_buffer import BlockRead
from .activation_groups import ActivationGroups
from .add_sub import add_sub
from .byte_walk import BYTE_ENTRIES, ByteWalk
from .shared import SharedComponent, shared
from .solo_walk import SoloWalk, lanes_used
from .table_set import SUM_OF_FIVE_BITS
from .trit_decode import TRITS_PER_BYTE

__all__ = ["ByteTableBuilder"]

#: Groups that are loaded in a cycle.
_LOADED = 2


def _step_layout(tokens: int, parts: int) -> data.StructLayout:
    """What the entry of each token changes by at the end of a cycle, for each part of the tables; as in
    `SoloWalk`."""
    digit = data.ArrayLayout(range(TRITS_PER_BYTE), tokens)
    move = data.StructLayout({"step": tokens, "digit": digit, "down": tokens})
    return data.StructLayout(
        {"write": 1, "address": range(BYTE_ENTRIES), "ends": 1, "moves": data.ArrayLayout(move, parts)}
    )


def _first_step(layout: data.StructLayout) -> dict[str, object]:
    """That of each walk: all entries change by their first activation, which is subtracted."""
    parts = layout.members["moves"]
    everyone = (1 << parts.elem_shape.members["step"]) - 1
    return {"moves": [{"step": everyone, "down": everyone}] * parts.length}


class ByteBuilder(SharedComponent):
    """Builds the table of one group of activations, of all tokens.

    Parameters
    ----------
    bias : int
        Added to the entries.
    tokens : int
        Groups side by side.

    Members
    -------
    live : In(tokens)
        Tokens that take part; what the others have stays as it is.
    load, clear : In(1), In(1)
        Hold this group; hold activations 0.
    group : In(ArrayLayout(40, tokens))
        Five activations of each token, the first lowest.
    begin : In(1)
        The entry becomes the bias.
    en, digit, down : In(tokens), In(ArrayLayout(3, tokens)), In(tokens)
        Otherwise add that activation to it, or subtract it.
    value : Out(ArrayLayout(11, tokens))
        The entry.
    """

    APART = True

    def __init__(self, bias: int, tokens: int) -> None:
        self.bias, self.tokens = bias, tokens
        super().__init__({
            "live": In(tokens),
            "load": In(1),
            "clear": In(1),
            "group": In(data.ArrayLayout(8 * TRITS_PER_BYTE, tokens)),
            "begin": In(1),
            "en": In(tokens),
            "digit": In(data.ArrayLayout(range(TRITS_PER_BYTE), tokens)),
            "down": In(tokens),
            "value": Out(data.ArrayLayout(unsigned(SUM_OF_FIVE_BITS), tokens)),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for t in range(self.tokens):
            held = Signal(data.ArrayLayout(signed(8), TRITS_PER_BYTE), name=f"held{t}", reset_less=True)
            value = Signal(SUM_OF_FIVE_BITS, name=f"entry{t}", reset_less=True)
            with m.If(self.live[t]):
                with m.If(self.load):
                    m.d.sync += held.eq(self.group[t])
                with m.Elif(self.clear):
                    m.d.sync += held.eq(0)
                with m.If(self.begin):
                    m.d.sync += value.eq(self.bias)
                with m.Elif(self.en[t]):
                    # Four of five in a look-up table; the fifth is chosen where the adder is.
                    digit = self.digit[t]
                    four = [Mux(digit[0], held[i + 1], held[i]) for i in (0, 2)]
                    moved = Mux(digit[2], held[4], Mux(digit[1], four[1], four[0]))
                    m.d.sync += value.eq(add_sub(value, moved, self.down[t]))
            m.d.comb += self.value[t].eq(value)
        return m


class ByteTableBuilder(wiring.Component):
    """Builds the tables of one chunk of activations, all of all tokens at the same time, as `ByteWalk` says.

    Takes two groups a cycle until it has ``tables`` of them or the last of the vector, then 5 cycles for the
    first entries and 243 to write, from the first cycle in which ``free`` is 1. Where only the first of
    several tokens is live, the builders of all take part in its tables, as `SoloWalk` says: `solo_cycles`
    for both. Where beside that there are no more than ``half`` groups, table i + ``half`` holds the group of
    table i too, and the two build half of its entries each: ``solo_cycles(2 * tokens)``.

    Parameters
    ----------
    biases : sequence of int
        For each table what is added to its entries; no less than 635.
    tokens : int
        Chunks side by side.
    half : int
        Groups that two tables share, at most; 0 where none does. A multiple of 2.

    Members
    -------
    start, q, k : In(1), In(16), In(16)
        As in `TableSet`.
    live : In(tokens)
        As in `TableSet`, constant from the cycle after ``start`` on; only their entries are built.
    read : Out(BlockRead(1, tokens))
        Port of the activation buffer; activations are within +-127.
    free : In(1)
        The tables may be overwritten; once 1, it stays so until ``built``.
    write : Out(tables)
        Write an entry of each table.
    address : Out(8)
        Its code, or the address of `SoloWalk`.
    value : Out(ArrayLayout(ArrayLayout(11, tokens), tables))
        Entries, of each table, of each token. Tables from ``bytes`` on have activations 0.
    built : Out(1)
        The last entry is being written.
    bytes : Out(0..tables)
        With ``built``: groups in this chunk.
    last : Out(1)
        With ``built``: the chunk is the last of its vector.
    twice : Out(1)
        With ``built``: two tables share the entries of a group.
    """

    def __init__(self, biases: Sequence[int], tokens: int, half: int = 0) -> None:
        self.biases, self.tokens, self.half = tuple(biases), tokens, half
        tables = len(self.biases)
        entries = data.ArrayLayout(unsigned(SUM_OF_FIVE_BITS), tokens)
        super().__init__({
            "start": In(1),
            "q": In(16),
            "k": In(16),
            "live": In(tokens, init=-1),  # pyright: ignore[reportCallIssue]
            "read": Out(BlockRead(1, tokens)),
            "free": In(1),
            "write": Out(tables),
            "address": Out(range(BYTE_ENTRIES)),
            "value": Out(data.ArrayLayout(entries, tables)),
            "built": Out(1),
            "bytes": Out(range(tables + 1)),
            "last": Out(1),
            "twice": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.groups = feed = ActivationGroups(self.tokens, _LOADED)
        m.submodules.walk = walk = ByteWalk()
        tables, groups, tokens = len(self.biases), feed.groups, self.tokens
        wiring.connect(m, wiring.flipped(self.read), feed.read)
        m.d.comb += [feed.start.eq(self.start), feed.q.eq(self.q), feed.k.eq(self.k)]

        loaded = Signal(range(tables + 1))
        # The tables that are loaded next, one bit for those of a cycle.
        due = Signal(-(-tables // _LOADED), init=1)
        begin = Signal()
        taken = Signal()
        m.d.comb += [
            self.bytes.eq(loaded),
            taken.eq(groups.valid & groups.ready),
        ]

        # What the builders of each token do, those of the tables up to ``half`` and of the others.
        # The walks are a step ahead of the builders, and all begin with the same one: they take it at once.
        going, ahead = Signal(), Signal(init=1)
        m.d.sync += ahead.eq(0)
        live = Signal(tokens)
        group = Signal.like(groups.p.activations)
        step_layout = _step_layout(tokens, 2 if self.half else 1)
        step, following = Signal(step_layout, init=_first_step(step_layout)), Signal(step_layout)
        m.d.comb += [
            live.eq(self.live),
            group.eq(groups.p.activations),
            following.address.eq(walk.address),
            following.write.eq(walk.write),
            following.ends.eq(walk.ends),
        ]
        for move in following.moves:
            m.d.comb += [
                move.step.eq(-1),
                move.down.eq(walk.down.replicate(tokens)),
                move.digit.eq(Cat(walk.digit for _ in range(tokens))),
            ]
        with m.If(going):
            m.d.sync += step.eq(following)
        m.d.comb += self.address.eq(step.address)
        if tokens == 1:
            m.d.comb += walk.en.eq(going | ahead)
        else:
            # Known by the time the first group is there, 2 cycles after `start`.
            alone = Signal()
            m.d.sync += alone.eq(~self.live[1:].any())
            m.d.comb += walk.en.eq((going & ~alone) | ahead)
            with m.If(alone):
                m.d.comb += [
                    live.eq(((1 << lanes_used(tokens)) - 1) | self.twice.replicate(tokens)),
                    group.eq(Cat(groups.p.activations[0] for _ in range(tokens))),
                ]
            for lanes in (tokens, 2 * tokens)[: len(following.moves)]:
                m.submodules[f"solo{lanes}"] = solo = SoloWalk(lanes)
                chosen = alone & (self.twice == (lanes > tokens))
                m.d.comb += solo.en.eq((going & chosen) | ahead)
                with m.If(chosen):
                    m.d.comb += [
                        following.address.eq(solo.address),
                        following.write.eq(solo.write),
                        following.ends.eq(solo.ends),
                    ]
                    for part, move in enumerate(following.moves):
                        first = part * tokens % lanes
                        m.d.comb += [
                            move.step.eq(solo.step[first : first + tokens]),
                            move.down.eq(solo.down[first : first + tokens]),
                            move.digit.eq(Cat(solo.digit[first + t] for t in range(tokens))),
                        ]
            if self.half:
                few = Signal()
                with m.If(self.start):
                    m.d.sync += few.eq(self.k <= TRITS_PER_BYTE * self.half)
                m.d.sync += self.twice.eq(few & ~self.live[1:].any())

        with m.FSM():
            with m.State("load"):
                m.d.comb += groups.ready.eq(1)
                with m.If(groups.valid):
                    m.d.comb += begin.eq(1)
                    m.d.comb += feed.both.eq(loaded != tables - 1)
                    m.d.sync += [
                        loaded.eq(loaded + 1 + (groups.p.more & feed.both)),
                        due.eq(due << 1),
                        self.last.eq(groups.p.last),
                    ]
                    with m.If(groups.p.last | (loaded + _LOADED >= tables)):
                        m.next = "build"
            with m.State("build"), m.If(self.free):
                m.d.comb += [going.eq(1), self.write.eq(step.write.replicate(tables))]
                with m.If(step.ends):
                    m.d.comb += self.built.eq(1)
                    m.d.sync += [loaded.eq(0), due.eq(1)]
                    m.next = "load"

        for i, bias in enumerate(self.biases):
            builder = ByteBuilder(bias, self.tokens)
            m.submodules[f"table{i}"] = shared(builder, platform)
            move, loads = step.moves[0], due[i // _LOADED]
            if self.half <= i < 2 * self.half:
                move, loads = step.moves[1], loads | (self.twice & due[(i - self.half) // _LOADED])
            m.d.comb += [
                builder.live.eq(live),
                builder.load.eq(taken & loads),
                builder.clear.eq(taken & due[0]),
                builder.group.eq(Cat(part[40 * (i % _LOADED) :][:40] for part in group)),
                builder.begin.eq(begin),
                builder.en.eq(Mux(going, move.step, 0)),
                builder.digit.eq(move.digit),
                builder.down.eq(move.down),
                self.value[i].eq(builder.value),
            ]
        return m
