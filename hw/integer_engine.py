"""Dot products of int8 and int4 rows, two at once, with group scales: the arithmetic of LINEAR and HEAD."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from .adder_tree import AdderTree
from .delay_line import any_in_flight, delay
from .machine import MachineConfig
from .packed_multiplier import PackedMultiplier
from .packing import FAMILIES
from .shared import SharedComponent, shared

__all__ = ["ROWS", "SUM_BITS", "IntegerEngine", "factors_layout"]

#: Rows that are multiplied at once: their weights share a DSP block.
ROWS = 2
SUM_BITS = 48
_WEIGHT_BITS = 8
_FACTOR_BITS = 16
#: Bits that a sum over a row of up to 2^16 elements gains.
_ROW_BITS = 16
#: Cycles from the sums of a group to those of the pair: two factors, two products, two additions, overlapped.
_GROUP_LATENCY = 4


def factors_layout() -> data.StructLayout:
    """What the sums of a group are multiplied by, for the even and the odd row."""
    factor = data.ArrayLayout(signed(_FACTOR_BITS), ROWS)
    return data.StructLayout({"scale": factor, "minimum": factor})


def _pairs_layout(lanes: int) -> data.ArrayLayout:
    """A weight of the even and one of the odd row in each lane."""
    return data.ArrayLayout(data.ArrayLayout(signed(_WEIGHT_BITS), ROWS), lanes)


class IntegerToken(SharedComponent):
    """One token of `IntegerEngine`: its multipliers, adder trees and sums.

    Parameters
    ----------
    family : str
        Whose packings.
    lanes : int
        Weights of a row at most in a cycle.
    bits : int
        Of an activation.

    Attributes
    ----------
    latency : int
        Enabled cycles from weights and activations to their sum.

    Members
    -------
    en : In(1)
        The pipeline advances in cycles in which this is 1, and only in those.
    weights, activations, live : In(...), In(bits * lanes), In(lanes)
        Lane by lane: a weight of both rows, 0 where the activation does not count; the activation; whether
        it counts.
    take, end : In(1), In(1)
        ``latency`` later: that sum counts; a group has ended. Not both.
    second, factors : In(1), In(factors_layout())
        One and two cycles after ``end``: which product begins; its factors.
    add, first : In(1), In(1)
        Two cycles after a product has begun: add it, to 0 if ``first``.
    sums : Out(ArrayLayout(signed(48), 2))
        Of the even and the odd row.
    """

    APART = True

    def __init__(self, family: str, lanes: int, bits: int) -> None:
        self.lanes, self.bits = lanes, bits
        self.packings = FAMILIES[family].of(bits)
        self.product_bits = self.packings.wide.product_bits
        self.trees = [AdderTree(lanes, self.product_bits, tag=0) for _ in range(ROWS)]
        self.latency = PackedMultiplier.LATENCY + self.trees[0].latency
        super().__init__({
            "en": In(1),
            "weights": In(_pairs_layout(lanes)),
            "activations": In(data.ArrayLayout(signed(bits), lanes)),
            "live": In(lanes),
            "take": In(1),
            "end": In(1),
            "second": In(1),
            "factors": In(factors_layout()),
            "add": In(1),
            "first": In(1),
            "sums": Out(data.ArrayLayout(signed(SUM_BITS), ROWS)),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        en, lanes, bits = self.en, self.lanes, self.bits
        for i in range(lanes):
            multiply = PackedMultiplier(self.packings.wide if i < lanes // ROWS else self.packings.narrow)
            m.submodules[f"multiply{i}"] = shared(multiply, platform)
            m.d.comb += [multiply.en.eq(en), multiply.activations[0].eq(self.activations[i])]
            for r, tree in enumerate(self.trees):
                m.d.comb += [
                    multiply.weights[r].eq(self.weights[i][r]),
                    tree.i[i].eq(multiply.products[r]),
                ]

        # The sum of activations takes as long as those of products.
        total = AdderTree(lanes, bits, tag=0)
        m.submodules.total = shared(total, platform)
        live = Signal(self.activations.shape(), reset_less=True)
        m.d.comb += [total.en.eq(en), total.i.eq(live)]
        with m.If(en):
            m.d.sync += [live[i].eq(Mux(self.live[i], self.activations[i], 0)) for i in range(lanes)]
        x = Signal(signed(bits + _ROW_BITS), reset_less=True)
        ended_x = Signal.like(x)
        add_x = delay(m, total.sum, PackedMultiplier.LATENCY - 1, en).as_signed()
        with m.If(en):
            with m.If(self.end):
                m.d.sync += [x.eq(0), ended_x.eq(x)]
            with m.Elif(self.take):
                m.d.sync += x.eq(x + add_x)

        for r, tree in enumerate(self.trees):
            m.submodules[f"tree{r}"] = shared(tree, platform)
            m.d.comb += tree.en.eq(en)
            dot_bits = self.product_bits + _ROW_BITS
            dot = Signal(signed(dot_bits), name=f"dot{r}", reset_less=True)
            value = Signal(signed(dot_bits), name=f"value{r}", reset_less=True)
            factor = Signal(signed(_FACTOR_BITS), name=f"factor{r}", reset_less=True)
            scaled = Signal(signed(SUM_BITS), name=f"scaled{r}", reset_less=True)
            with m.If(en):
                with m.If(self.end):
                    m.d.sync += dot.eq(0)
                with m.Elif(self.take):
                    m.d.sync += dot.eq(dot + tree.sum)
                m.d.sync += [
                    value.eq(Mux(self.second, ended_x, dot)),
                    factor.eq(Mux(self.second, self.factors.minimum[r], self.factors.scale[r])),
                    scaled.eq(value * factor),
                ]
                with m.If(self.add):
                    m.d.sync += self.sums[r].eq(scaled + Mux(self.first, 0, self.sums[r]))
        return m


class IntegerEngine(wiring.Component):
    """``numerics.grouped_linear`` of pairs of rows, for each token of a tile.

    Each token has one `PackedMultiplier` for each byte of codes; it multiplies a weight of the even and one
    of the odd row by an activation. Adder trees sum both rows' products and the activations. At the end of a
    group a multiplier for each row takes, one after the other, scale * dot product and minimum * sum of
    activations, and adds them to the pair's sums: a group takes two cycles or more, its last one without
    codes.

    Parameters
    ----------
    config : MachineConfig
        ``head_lanes`` bytes of codes a cycle, of ``family``'s packings; ``tile`` tokens.

    Attributes
    ----------
    latency : int
        Enabled cycles from ``final`` to ``valid``.

    Members
    -------
    en : In(1)
        The pipeline advances in cycles in which this is 1, and only in those.
    take : In(1)
        Add the products of this unit.
    narrow : In(1)
        Codes are int4 (a byte has those of both rows, the even one low), else int8 (byte by byte in turns).
    codes : In(8 * head_lanes)
        The unit.
    live : In(head_lanes)
        Which of its activations count; the others are 0. The upper half does not in a unit of int8.
    activations : In(ArrayLayout(activation_bits * head_lanes, tile))
        Activations of each token.
    live_tokens : In(tokens)
        Tokens whose sums are wanted; changes only when nothing is under way. All, where it is not connected.
    end, factors : In(1), In(factors_layout())
        A group ends: not with ``take``, nor two of them in successive cycles.
    final : In(1)
        The pair ends, with its last group or later; not before the next unit is a ``take`` of the next pair.
    valid, sums : Out(1), Out(ArrayLayout(signed(48), 2 * tile))
        Sums of the even row for each token, then of the odd row, modulo 2^48; they stay until the pipeline
        advances.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        lanes, tokens, bits = config.head_lanes, config.tile, config.activation_bits
        self.to_sums = IntegerToken(config.family, lanes, bits).latency
        self.latency = self.to_sums + _GROUP_LATENCY
        super().__init__({
            "en": In(1),
            "take": In(1),
            "narrow": In(1),
            "codes": In(8 * lanes),
            "live": In(lanes),
            "activations": In(data.ArrayLayout(bits * lanes, tokens)),
            "live_tokens": In(tokens, init=-1),  # pyright: ignore[reportCallIssue]
            "end": In(1),
            "factors": In(factors_layout()),
            "final": In(1),
            "valid": Out(1),
            "sums": Out(data.ArrayLayout(signed(SUM_BITS), ROWS * tokens)),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, tokens, bits = self.config.head_lanes, self.config.tile, self.config.activation_bits
        en = self.en

        # Weights of both rows, lane by lane. Only half of the lanes have codes of int8.
        codes = data.View(data.ArrayLayout(signed(8), lanes), self.codes)
        halves = data.View(data.ArrayLayout(signed(4), ROWS * lanes), self.codes)
        weights = Signal(_pairs_layout(lanes))
        for i in range(lanes):
            pair = [halves[ROWS * i + r] for r in range(ROWS)]
            if i < lanes // ROWS:
                pair = [Mux(self.narrow, pair[r], codes[ROWS * i + r]) for r in range(ROWS)]
            m.d.comb += [weights[i][r].eq(Mux(self.live[i], pair[r], 0)) for r in range(ROWS)]

        # Marks on their way beside the products, and factors that wait for them.
        marks = data.StructLayout({"take": 1, "end": 1, "final": 1})
        summed = data.View(marks, delay(m, Cat(self.take, self.end, self.final), self.to_sums, en))
        depth = (self.to_sums + 1) // 2 + 1
        m.submodules.waiting = waiting = SyncFIFO(width=factors_layout().size, depth=depth)
        factors = data.View(factors_layout(), waiting.r_data)
        # A group's second product follows its first.
        second = Signal()
        fresh = Signal(init=1)
        operand = Signal(data.StructLayout({"valid": 1, "first": 1}))
        product = Signal(operand.shape())
        m.d.comb += [
            waiting.w_en.eq(en & self.end),
            waiting.w_data.eq(self.factors),
            waiting.r_en.eq(en & second),
            self.valid.eq(delay(m, summed.final, _GROUP_LATENCY, en)),
        ]
        with m.If(en):
            m.d.sync += [
                second.eq(summed.end),
                operand.valid.eq(summed.end | second),
                operand.first.eq(summed.end & fresh),
                product.eq(operand),
            ]
            with m.If(summed.end | summed.final):
                m.d.sync += fresh.eq(summed.final)

        # Registers of a token stand still while it is not live and while nothing passes.
        passing = any_in_flight(m, self.take | self.end | self.final, self.latency, en)
        for t in range(tokens):
            token = IntegerToken(self.config.family, lanes, bits)
            m.submodules[f"token{t}"] = shared(token, platform)
            m.d.comb += [
                token.en.eq(en & passing & self.live_tokens[t]),
                token.weights.eq(weights),
                token.live.eq(self.live),
                token.activations.eq(self.activations[t]),
                token.take.eq(summed.take),
                token.end.eq(summed.end),
                token.second.eq(second),
                token.factors.eq(factors),
                token.add.eq(product.valid),
                token.first.eq(product.first),
                *(self.sums[r * tokens + t].eq(token.sums[r]) for r in range(ROWS)),
            ]
        return m
