"""Dot products of two rows of weights with one token's activations, and the activations' sum."""

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from .adder_tree import AdderTree
from .delay_line import delay
from .dsp48 import SIMD_BITS, SIMD_LANES, add_block, multiply_block
from .packed_multiplier import PackedMultiplier
from .packing import DSP48E2, FAMILIES
from .shared import SharedComponent, primitives, shared
from .three_operand_tree import ThreeOperandTree

__all__ = ["ROWS", "WEIGHT_BITS", "CascadeDots", "PackedDots", "integer_dots", "pairs_layout"]

#: Rows that are multiplied at once: their weights share a DSP block.
ROWS = 2
#: Blocks of a cascade at most.
CASCADE = 8
WEIGHT_BITS, _NARROW_BITS = 8, 4


def pairs_layout(lanes: int) -> data.ArrayLayout:
    """A weight of the even and one of the odd row in each lane."""
    return data.ArrayLayout(data.ArrayLayout(signed(WEIGHT_BITS), ROWS), lanes)


class _Dots(SharedComponent):
    """What both forms have in common.

    Parameters
    ----------
    lanes : int
        Weights of a row at most in a cycle: so many of 4 bits, in the first half of the lanes of 8 bits.
    bits : int
        Of an activation.

    Attributes
    ----------
    latency : int
        Enabled cycles from activations to their sums.
    skew : list of int
        By how many enabled cycles the weights of each lane come later than its activation.

    Members
    -------
    en : In(1)
        The pipeline advances in cycles in which this is 1, and only in those.
    weights, activations : In(pairs_layout(lanes)), In(bits * lanes)
        Lane by lane: a weight of both rows, wanted `skew` enabled cycles after its activation.
    off : In(lanes)
        With ``en``: the activation does not count, it is 0. Without ``en`` 0, or nothing is under way.
    dots : Out(ArrayLayout(signed, 2))
        Sums of products of the even and the odd row.
    total : Out(signed)
        Sum of the activations.
    """

    APART = True

    def __init__(self, lanes: int, bits: int, latency: int, dot_bits: int, total_bits: int) -> None:
        self.lanes, self.bits, self.latency = lanes, bits, latency
        self.skew = [0] * lanes
        super().__init__({
            "en": In(1),
            "weights": In(pairs_layout(lanes)),
            "activations": In(data.ArrayLayout(signed(bits), lanes)),
            "off": In(lanes),
            "dots": Out(data.ArrayLayout(signed(dot_bits), ROWS)),
            "total": Out(signed(total_bits)),
        })  # fmt: skip


class PackedDots(_Dots):
    """A `PackedMultiplier` for each lane, and adder trees.

    ``family`` : whose packings. The rest as in `_Dots`.
    """

    def __init__(self, family: str, lanes: int, bits: int) -> None:
        self.packings = FAMILIES[family].of(bits)
        width = self.packings.wide.product_bits
        self.trees = [AdderTree(lanes, width, tag=0) for _ in range(ROWS)]
        levels = self.trees[0].levels
        latency = PackedMultiplier.LATENCY + self.trees[0].latency
        super().__init__(lanes, bits, latency, width + levels, bits + levels)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        en, lanes = self.en, self.lanes
        activations = Signal(self.activations.shape())
        m.d.comb += [activations[i].eq(Mux(self.off[i], 0, self.activations[i])) for i in range(lanes)]
        for i in range(lanes):
            multiply = PackedMultiplier(self.packings.wide if i < lanes // ROWS else self.packings.narrow)
            m.submodules[f"multiply{i}"] = shared(multiply, platform)
            m.d.comb += [multiply.en.eq(en), multiply.activations[0].eq(activations[i])]
            for r, tree in enumerate(self.trees):
                m.d.comb += [
                    multiply.weights[r].eq(self.weights[i][r]),
                    tree.i[i].eq(multiply.products[r]),
                ]
        for r, tree in enumerate(self.trees):
            m.submodules[f"tree{r}"] = shared(tree, platform)
            m.d.comb += [tree.en.eq(en), self.dots[r].eq(tree.sum)]

        # The sum of activations takes as long as those of products.
        total = AdderTree(lanes, self.bits, tag=0)
        m.submodules.total = shared(total, platform)
        m.d.comb += [
            total.en.eq(en),
            total.i.eq(delay(m, activations.as_value(), 1, en)),
            self.total.eq(delay(m, total.sum, PackedMultiplier.LATENCY - 1, en).as_signed()),
        ]
        return m


class CascadeDots(_Dots):
    """DSP48E2 blocks in cascades, which add the products of their lanes: for activations of 8 bits.

    A block multiplies the packed weights of two rows (`packing.FAMILIES`) by an activation and adds what the
    block before it has. Block j of cascade c takes lane j * cascades + c, j cycles after the first one. The
    two fields of a result are sums of several products: those of a cascade fit a field, for half of its lanes
    at most have weights of 8 bits. A constant that the first block adds makes the fields numbers that are not
    negative, so that none borrows from the one above. Trees of three-operand adders sum the cascades. The
    activations are added in blocks of their own, eight in a block, likewise.

    The first register of an activation is cleared where it does not count; so this costs no look-up tables.
    """

    #: Enabled cycles from weights and activations to the sum of the first block, and to that of activations.
    BLOCK, ADD = 4, 3

    def __init__(self, lanes: int, bits: int) -> None:
        packing = FAMILIES["xcup"].of(bits).wide
        self.cascades = max(1, lanes // CASCADE)
        self.length = lanes // self.cascades
        self.field = packing.weight_offsets[-1]
        if not self.fits(lanes, bits):
            raise ValueError(
                f"wanted products whose cascades fit {self.field} bits, found {lanes} of {bits} bits"
            )
        self.tree = ThreeOperandTree(self.cascades, self.field)
        # Cascades of SIMD blocks: each sums up to eight lanes of a stage into four numbers.
        self.adders = -(-self.cascades // (2 * SIMD_LANES))
        self.totals = min(SIMD_LANES, self.cascades) * self.adders
        self.total_tree = ThreeOperandTree(self.totals, SIMD_BITS)
        latency = self.BLOCK + self.length - 1 + self.tree.latency
        super().__init__(lanes, bits, latency, len(self.tree.sum), len(self.total_tree.sum))
        self.skew = [i // self.cascades for i in range(lanes)]

    @classmethod
    def fits(cls, lanes: int, bits: int) -> bool:
        """Whether the sums of cascades fit their fields for all weights and activations of so many bits."""
        packing = FAMILIES["xcup"].of(bits).wide
        assert packing.dsp is DSP48E2
        length = lanes // max(1, lanes // CASCADE)
        largest = max(length // ROWS << WEIGHT_BITS + bits - 2, length << _NARROW_BITS + bits - 2)
        in_simd = 2 * length << bits - 1
        return largest < 1 << packing.weight_offsets[-1] - 1 and in_simd <= 1 << SIMD_BITS - 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        en, cascades, cells = self.en, self.cascades, primitives(platform)

        # Activations of lane j * cascades + c, delayed by j. Registers with a reset: of others synthesis
        # would make shift registers in look-up tables.
        activations: list[Value] = []
        for i, skew in enumerate(self.skew):
            x = Signal(signed(self.bits), name=f"activation{i}")
            with m.If(self.off[i]):
                m.d.sync += x.eq(0)
            with m.Elif(en):
                m.d.sync += x.eq(self.activations[i])
            activations.append(delay(m, x, skew, en).as_signed())

        bias = 1 << self.field - 1
        trees = [ThreeOperandTree(cascades, self.field) for _ in range(ROWS)]
        for c in range(cascades):
            result: Value | None = None
            before: Value | None = None
            for j in range(self.length):
                i = j * cascades + c
                pair = (self.weights[i][0], self.weights[i][1])
                result, before = multiply_block(
                    m, f"multiply{i}", en, pair, self.field, activations[i], before,
                    bias << self.field | bias, cells,
                )  # fmt: skip
            assert result is not None
            for r, tree in enumerate(trees):
                m.d.comb += tree.i[c].eq(result[r * self.field : (r + 1) * self.field])
        for r, tree in enumerate(trees):
            m.submodules[f"tree{r}"] = shared(tree, platform)
            m.d.comb += [tree.en.eq(en), self.dots[r].eq(_unbiased(tree.sum))]

        # Block j of an adders' cascade takes lanes of the same delay. It is a cycle ahead of the product's.
        total = self.total_tree
        m.submodules.total = shared(total, platform)
        m.d.comb += total.en.eq(en)
        for a in range(self.adders):
            result = before = None
            for j in range(self.length):
                first = j * cascades + a * 2 * SIMD_LANES
                terms = activations[first : min(first + 2 * SIMD_LANES, (j + 1) * cascades)]
                result, before = add_block(m, f"add{j}_{a}", en, terms, before, 1 << SIMD_BITS - 1, cells)
            assert result is not None
            for k in range(self.totals // self.adders):
                m.d.comb += total.i[a * SIMD_LANES + k].eq(result[k * SIMD_BITS : (k + 1) * SIMD_BITS])
        late = self.latency - (self.ADD + self.length - 1 + total.latency)
        m.d.comb += self.total.eq(_unbiased(delay(m, total.sum, late, en)))
        return m


def _unbiased(total: Value) -> Value:
    """Less half of its range: the sum of a power of two of numbers, each with half of its range added."""
    return (total ^ 1 << len(total) - 1).as_signed()


def integer_dots(family: str, lanes: int, bits: int) -> "PackedDots | CascadeDots":
    """The form for a family, so many lanes and activations of so many bits."""
    if family == "xcup" and CascadeDots.fits(lanes, bits):
        return CascadeDots(lanes, bits)
    return PackedDots(family, lanes, bits)
