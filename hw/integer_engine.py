"""Dot products of int8 and int4 rows, two at once, with group scales: the arithmetic of LINEAR and HEAD."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .delay_line import delay, in_flight
from .fp32_mul import Fp32Mul
from .integer_dots import ROWS, WEIGHT_BITS, integer_dots, pairs_layout
from .machine import MachineConfig
from .shared import SharedComponent, primitives, shared
from .three_operand_adder import ThreeOperandAdder

__all__ = ["ROWS", "SUM_BITS", "IntegerEngine", "factors_layout"]

SUM_BITS = 48
_FACTOR_BITS = 16
#: Bits of the lower part of what a factor multiplies: unsigned, on the narrower port of a DSP block.
_PART = 17
#: Bits that a sum over a row of up to 2^16 elements gains.
_ROW_BITS = 16
#: Cycles from the sums of a group to those of the pair: two factors, two products, two additions, overlapped.
_GROUP_LATENCY = 4


def factors_layout() -> data.StructLayout:
    """What the sums of a group are multiplied by, for the even and the odd row."""
    factor = data.ArrayLayout(signed(_FACTOR_BITS), ROWS)
    return data.StructLayout({"scale": factor, "minimum": factor})


class IntegerToken(SharedComponent):
    """One token of `IntegerEngine`: its dot products and the sums over groups.

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
        Enabled cycles from activations to their sum.
    skew : list of int
        By how many enabled cycles the weights of each lane come later.

    Members
    -------
    en : In(1)
        The pipeline advances in cycles in which this is 1, and only in those.
    weights, activations, off : In(...), In(bits * lanes), In(lanes)
        Lane by lane: a weight of both rows, `skew` cycles after its activation; with ``en``, whether it does
        not count. Without ``en``, ``off`` is 0 or nothing is under way.
    take, end : In(1), In(1)
        ``latency`` later: that sum counts; a group has ended.
    second, factors : In(1), In(factors_layout())
        One and two cycles after ``end``: which product begins; its factors.
    add, first : In(1), In(1)
        Two cycles after a product has begun: add it, to 0 if ``first``.
    sums : Out(ArrayLayout(signed(48), 2))
        Of the even and the odd row.
    """

    APART = True

    def __init__(self, family: str, lanes: int, bits: int) -> None:
        self.bits = bits
        self.products = integer_dots(family, lanes, bits)
        self.latency, self.skew = self.products.latency, self.products.skew
        super().__init__({
            "en": In(1),
            "weights": In(pairs_layout(lanes)),
            "activations": In(data.ArrayLayout(signed(bits), lanes)),
            "off": In(lanes),
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
        en, products = self.en, self.products
        m.submodules.products = shared(products, platform)
        m.d.comb += [
            products.en.eq(en),
            products.weights.eq(self.weights),
            products.activations.eq(self.activations),
            products.off.eq(self.off),
        ]
        # Sums of a group. They are not added to at its end, so that one condition clears them.
        x = Signal(signed(self.bits + _ROW_BITS), reset_less=True)
        dots = [
            Signal(signed(self.bits + WEIGHT_BITS + _ROW_BITS), name=f"dot{r}", reset_less=True)
            for r in range(ROWS)
        ]
        sums = [(x, products.total), *zip(dots, products.dots, strict=True)]
        ended_x = Signal.like(x)
        with m.If(en & self.end):
            m.d.sync += [ended_x.eq(x), *(total.eq(0) for total, _ in sums)]
        with m.Elif(en & self.take):
            m.d.sync += [total.eq(total + term) for total, term in sums]

        for r, dot in enumerate(dots):
            value = Signal.like(dot, name=f"value{r}", reset_less=True)
            factor = Signal(signed(_FACTOR_BITS), name=f"factor{r}", reset_less=True)
            with m.If(en):
                m.d.sync += [
                    value.eq(Mux(self.second, ended_x, dot)),
                    factor.eq(Mux(self.second, self.factors.minimum[r], self.factors.scale[r])),
                ]
            # A product of a DSP block for each part of the value; one adder of three operands.
            low = Signal(signed(_PART + 1 + _FACTOR_BITS), name=f"low{r}", reset_less=True)
            high = Signal(signed(len(value) - _PART + _FACTOR_BITS), name=f"high{r}", reset_less=True)
            with m.If(en):
                m.d.sync += [low.eq(value[:_PART] * factor), high.eq((value >> _PART) * factor)]
            adder = ThreeOperandAdder(SUM_BITS, primitives(platform))
            m.submodules[f"adder{r}"] = shared(adder, platform)
            m.d.comb += [
                adder.en.eq(en & self.add),
                adder.drop.eq(self.first),
                adder.a.eq(self.sums[r]),
                adder.b.eq(low),
                adder.c.eq(high << _PART),
                self.sums[r].eq(adder.sum),
            ]
        return m


class IntegerEngine(wiring.Component):
    """``numerics.grouped_linear`` of pairs of rows, for each token of a tile.

    Each token has a DSP block for each byte of codes; it multiplies a weight of the even and one of the odd
    row by an activation. `integer_dots` sums both rows' products and the activations. At the end of a
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
    early : int
        Of them, those in which what comes with ``take`` is a register before anything is computed.

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
    begins : In(1)
        1 with any of ``take``, ``end`` and ``final``: the registers' enable, known before them.
    valid, sums : Out(1), Out(ArrayLayout(signed(48), 2 * tile))
        Sums of the even row for each token, then of the odd row, modulo 2^48; they stay until the pipeline
        advances.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        lanes, tokens, bits = config.head_lanes, config.tile, config.activation_bits
        token = IntegerToken(config.family, lanes, bits)
        self.to_sums, self.skew = token.latency, token.skew
        self.early = config.multiply_cycles - Fp32Mul.LEAST
        self.latency = self.early + self.to_sums + _GROUP_LATENCY
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
            "begins": In(1),
            "valid": Out(1),
            "sums": Out(data.ArrayLayout(signed(SUM_BITS), ROWS * tokens)),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, tokens, bits = self.config.head_lanes, self.config.tile, self.config.activation_bits
        en = self.en
        # Nothing moves while nothing passes.
        enables = in_flight(m, self.begins, self.latency, en)
        behind = Signal()
        with m.If(en):
            m.d.sync += behind.eq(Cat(*enables[:-1]).any())
        passing = enables[0] | behind

        # Weights of both rows, lane by lane. Only half of the lanes have codes of int8.
        codes = data.View(data.ArrayLayout(signed(8), lanes), self.codes)
        halves = data.View(data.ArrayLayout(signed(4), ROWS * lanes), self.codes)
        weights = Signal(pairs_layout(lanes))
        for i in range(lanes):
            pair = [halves[ROWS * i + r] for r in range(ROWS)]
            if i < lanes // ROWS:
                pair = [Mux(self.narrow, pair[r], codes[ROWS * i + r]) for r in range(ROWS)]
            m.d.comb += [
                weights[i][r].eq(delay(m, pair[r], self.early + self.skew[i], en & passing))
                for r in range(ROWS)
            ]

        # Marks on their way beside the products, and factors that wait for them.
        marks = data.StructLayout({"take": 1, "end": 1, "final": 1})
        summed = data.View(
            marks, delay(m, Cat(self.take, self.end, self.final), self.early + self.to_sums, en)
        )
        # No more can wait than end in the time of a product, so that nothing is full.
        waiting_bits = ((self.early + self.to_sums + 1) // 2).bit_length()
        m.submodules.waiting = waiting = Memory(shape=factors_layout(), depth=1 << waiting_bits, init=[])
        put, get = waiting.write_port(), waiting.read_port(domain="comb")
        factors = get.data
        # A group's second product follows its first.
        second = Signal()
        fresh = Signal(init=1)
        operand = Signal(data.StructLayout({"valid": 1, "first": 1}))
        product = Signal(operand.shape())
        m.d.comb += [
            put.en.eq(en & self.end),
            put.data.eq(self.factors),
            self.valid.eq(delay(m, summed.final, _GROUP_LATENCY, en)),
        ]
        with m.If(put.en):
            m.d.sync += put.addr.eq(put.addr + 1)
        with m.If(en & second):
            m.d.sync += get.addr.eq(get.addr + 1)
        with m.If(en):
            m.d.sync += [
                second.eq(summed.end),
                operand.valid.eq(summed.end | second),
                operand.first.eq(summed.end & fresh),
                product.eq(operand),
            ]
            with m.If(summed.end | summed.final):
                m.d.sync += fresh.eq(summed.final)

        # Registers of a token stand still while it is not live.
        off = Signal(lanes)
        m.d.comb += off.eq(Mux(en, delay(m, ~self.live, self.early, en & passing), 0))
        for t in range(tokens):
            token = IntegerToken(self.config.family, lanes, bits)
            m.submodules[f"token{t}"] = shared(token, platform)
            m.d.comb += [
                token.en.eq(en & passing & self.live_tokens[t]),
                token.weights.eq(weights),
                token.off.eq(off),
                token.activations.eq(delay(m, self.activations[t], self.early, en & passing)),
                token.take.eq(summed.take),
                token.end.eq(summed.end),
                token.second.eq(second),
                token.factors.eq(factors),
                token.add.eq(product.valid),
                token.first.eq(product.first),
                *(self.sums[r * tokens + t].eq(token.sums[r]) for r in range(ROWS)),
            ]
        return m
