"""The sum of table entries: chains of carries for LUT4s, three-operand adders for LUT6s."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from .shared import SharedComponent, primitives, shared
from .table_set import LARGEST_OF_FIVE, SUM_OF_FIVE_BITS
from .three_operand_adder import ThreeOperandAdder

__all__ = ["EntrySum", "entry_biases"]

#: Additions that share a carry chain at most: a longer one would be slow.
_CHAINED = 4


def entry_biases(terms: int, largest: int = LARGEST_OF_FIVE) -> tuple[int, ...]:
    """What is added to the entries of each table, so that none is negative and the sum of all biases is half
    the range of the sum: then its highest bit, inverted, is its sign."""
    half = 1 << (largest * terms - 1).bit_length()
    return tuple(half // terms + (i < half % terms) for i in range(terms))


@dataclass(frozen=True)
class _Number:
    """A number that is not negative, and the largest it can be."""

    bits: Value
    largest: int
    #: Whether the highest bit is inverted.
    inverted: bool = False


class _Chain:
    """Additions one behind the other in one carry chain.

    Where the sum has a bit more than both operands, that place hands the carry out and is free to make the
    carry into the next addition: both operands have there the bit to be carried.
    """

    def __init__(self) -> None:
        self.a: list[Value] = []
        self.b: list[Value] = []
        self.sums: list[tuple[int, int]] = []
        self.free = False

    def add(
        self, a: Value, b: Value, width: int, carry: Value | None = None, invert_top: bool = False
    ) -> int:
        """Append ``a + b + carry``; returns its number. A carry only if the chain is ``free``. ``invert_top``
        inverts the highest bit of the sum, which must be beyond both operands."""
        if carry is not None:
            assert self.free
            self.a[-1] = self.b[-1] = carry
        self.sums.append((len(self.a), width))
        self.free = max(len(a), len(b)) < width
        for bits, operand in ((self.a, a), (self.b, b)):
            bits += [operand[i] if i < len(operand) else Const(0, 1) for i in range(width)]
        if invert_top:
            assert self.free
            self.a[-1], self.free = Const(1, 1), False
        return len(self.sums) - 1

    def registered(self, m: Module, en: Value, name: str) -> list[Value]:
        """The sums, an enabled cycle later."""
        register = Signal(len(self.a), name=name, reset_less=True)
        with m.If(en):
            m.d.sync += register.eq(Cat(*self.a) + Cat(*self.b))
        return [register[start : start + width] for start, width in self.sums]


def _delayed(m: Module, en: Value, value: Value, name: str) -> Value:
    register = Signal(len(value), name=name, reset_less=True)
    with m.If(en):
        m.d.sync += register.eq(value)
    return register


def _bits(largest: int) -> int:
    return largest.bit_length()


class EntrySum(SharedComponent):
    """The exact sum of one biased entry of each table, one sum a cycle.

    With LUT4s (``ecp5``) an adder has two operands, and a bit of it costs a LUT. Adders follow one another in
    a carry chain, and the place between two carries the lowest bit of a third operand into the second adder:
    of three numbers a + b + c the first adder takes the lowest bit of c, so the second one has a bit less.
    With LUT6s (``xcup``) a bit of an adder of three operands costs a LUT (`ThreeOperandAdder`).

    A register follows each adder.

    Parameters
    ----------
    terms : int
        Entries, 1 or more.
    family : str
        "ecp5" or "xcup".
    partial_bits : int
        Bits of a partial sum that is added as well, or 0 for none.
    primitives : bool
        Instantiate the family's cells where synthesis would not infer them.
    largest : int
        Largest magnitude of an unbiased entry.

    Attributes
    ----------
    latency : int
        Enabled cycles from ``i`` to ``sum``; ``partial`` is wanted one cycle before ``sum``.

    Members
    -------
    en : In(1)
        The pipeline advances in cycles in which this is 1, and only in those; 1 where it is not connected.
    i : In(ArrayLayout(11, terms))
        Entries with ``entry_biases(terms)`` added.
    partial : In(partial_bits)
        Two's complement; absent without bits.
    sum : Out(...)
        Two's complement, as many bits as the largest sum needs, or ``partial_bits``: the sum of the entries
        without biases, and ``partial``.
    """

    APART = True

    def __init__(
        self,
        terms: int,
        family: str,
        partial_bits: int = 0,
        primitives: bool = False,
        largest: int = LARGEST_OF_FIVE,
    ) -> None:
        if terms < 1:
            raise ValueError(f"A sum needs 1 entry or more, not {terms!r}")
        self.terms, self.family, self.partial_bits, self.primitives = terms, family, partial_bits, primitives
        self.biases = entry_biases(terms, largest)
        self.bits = 1 + (largest * terms - 1).bit_length()
        self.largest = largest
        self.latency = self._stages()
        super().__init__({
            "en": In(1, init=1),  # pyright: ignore[reportCallIssue]
            "i": In(data.ArrayLayout(unsigned(SUM_OF_FIVE_BITS), terms)),
            **({"partial": In(partial_bits)} if partial_bits else {}),
            "sum": Out(partial_bits or self.bits),
        })  # fmt: skip

    def _stages(self) -> int:
        count, stages = self.terms, 0
        if self.family == "xcup":
            while count + bool(self.partial_bits) > 3:
                count, stages = count // 3 + count % 3, stages + 1
            return stages + (count + bool(self.partial_bits) > 1)
        while count > 1:
            if count in (2, 4):
                count, stages = count // 2, stages + 1
            else:
                count, stages = count // 3 + bool(count % 3), stages + 2
        return stages + bool(self.partial_bits)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        tops = [bias + self.largest for bias in self.biases]
        numbers = [_Number(entry[: _bits(top)], top) for entry, top in zip(self.i, tops, strict=True)]
        if self.family == "xcup":
            self._three_operands(m, numbers, platform)
        else:
            self._chained(m, numbers)
        return m

    def _three_operands(self, m: Module, numbers: list[_Number], platform: object) -> None:
        def add3(name: str, operands: list[Value], width: int, plus: Value | None = None) -> Value:
            return self._add3(m, platform, name, operands, width, plus)

        level = 0
        while len(numbers) + bool(self.partial_bits) > 3:
            made = []
            for i in range(0, len(numbers) - 2, 3):
                largest = sum(n.largest for n in numbers[i : i + 3])
                three = [n.bits for n in numbers[i : i + 3]]
                made.append(_Number(add3(f"add{level}_{i}", three, _bits(largest)), largest))
            rest = numbers[len(numbers) - len(numbers) % 3 :]
            made += [
                _Number(_delayed(m, self.en, n.bits, f"pass{level}_{i}"), n.largest)
                for i, n in enumerate(rest)
            ]
            numbers, level = made, level + 1
        # Without the biases: what is left is two's complement.
        minus = Const(-(1 << self.bits - 1), len(self.sum))
        if self.partial_bits:
            operands = [n.bits for n in numbers] + [self.partial]
            m.d.comb += self.sum.eq(add3("partial_sum", operands, self.partial_bits, minus))
        elif len(numbers) > 1:
            m.d.comb += self.sum.eq(add3("last", [n.bits for n in numbers], self.bits, minus))
        else:
            m.d.comb += self.sum.eq(numbers[0].bits ^ minus)

    def _add3(
        self, m: Module, platform: object, name: str, operands: list[Value], width: int, plus: Value | None
    ) -> Value:
        """The registered sum, modulo 2**width. ``plus`` takes no operand's place where one has ended."""
        columns = [[o[i] for o in operands if i < len(o)] for i in range(width)]
        if plus is not None:
            # The highest bit of the sum of entries is at `bits - 1`: two operands at most reach it.
            columns = [c + ([plus[i]] if i >= self.bits - 1 else []) for i, c in enumerate(columns)]
        rows = [Cat(*(c[r] if r < len(c) else Const(0, 1) for c in columns)) for r in range(3)]
        assert all(len(c) <= 3 for c in columns)
        adder = ThreeOperandAdder(width, self.primitives or primitives(platform))
        m.submodules[name] = shared(adder, platform)
        m.d.comb += [adder.en.eq(self.en), adder.a.eq(rows[0]), adder.b.eq(rows[1]), adder.c.eq(rows[2])]
        return adder.sum

    def _chained(self, m: Module, numbers: list[_Number]) -> None:
        level = 0
        while len(numbers) > 1:
            step = self._pairs if len(numbers) in (2, 4) else self._threes
            numbers, level = step(m, numbers, f"level{level}"), level + 1
        (total,) = numbers
        without_bias = Signal(signed(self.bits))
        m.d.comb += without_bias.eq(total.bits ^ (0 if total.inverted else 1 << self.bits - 1))
        if self.partial_bits:
            with m.If(self.en):
                m.d.sync += self.sum.eq(self.partial + without_bias)
        else:
            m.d.comb += self.sum.eq(without_bias)

    def _pairs(self, m: Module, numbers: list[_Number], name: str) -> list[_Number]:
        """Two numbers to one, four to two."""
        chain = _Chain()
        if len(numbers) == 2:
            a, b = (n.bits for n in numbers)
            inverted = max(len(a), len(b)) < self.bits
            chain.add(a, b, self.bits, invert_top=inverted)
            return [_Number(chain.registered(m, self.en, name)[0], sum(n.largest for n in numbers), inverted)]
        a, b, c, d = numbers
        width = _bits(c.largest // 2 + d.largest // 2)
        # The lowest bit of d waits; that of c is the carry into a + b.
        shorter = width > max(len(c.bits), len(d.bits)) - 1
        begin = 1 if shorter else 0
        high = chain.add(c.bits[begin:], d.bits[begin:], width if shorter else _bits(c.largest + d.largest))
        largest = a.largest + b.largest + begin
        low = chain.add(a.bits, b.bits, _bits(largest), c.bits[0] if shorter else None)
        waiting = _delayed(m, self.en, d.bits[:begin], f"{name}_low") if shorter else Cat()
        sums = chain.registered(m, self.en, name)
        return [_Number(sums[low], largest), _Number(Cat(waiting, sums[high]), c.largest + d.largest)]

    def _threes(self, m: Module, numbers: list[_Number], name: str) -> list[_Number]:
        """Three numbers to one, in two stages."""
        groups = [numbers[i : i + 3] for i in range(0, len(numbers), 3)]
        made: list[_Number] = []
        for start in range(0, len(groups), _CHAINED):
            part = groups[start : start + _CHAINED]
            first, second = _Chain(), _Chain()
            steps = []
            for i, group in enumerate(part):
                where = f"{name}_{start + i}"
                if len(group) == 1:
                    steps.append((None, _delayed(m, self.en, group[0].bits, f"{where}_first")))
                    continue
                a, b = group[:2]
                carry = group[2].bits[0] if len(group) == 3 and first.free else None
                width = _bits(a.largest + b.largest + (carry is not None))
                index = first.add(a.bits, b.bits, width, carry)
                rest = None
                if len(group) == 3:
                    rest = group[2].bits[1:] if carry is not None else group[2].bits
                    rest = _delayed(m, self.en, rest, f"{where}_third")
                steps.append((index, rest))
            sums = first.registered(m, self.en, f"{name}_{start}_first")
            places = []
            for group, (index, rest) in zip(part, steps, strict=True):
                largest = sum(n.largest for n in group)
                if index is None or rest is None:
                    value = rest if index is None else sums[index]
                    places.append((None, value, 0, largest))
                    continue
                begin = 1 if len(rest) < len(group[2].bits) else 0
                where = second.add(sums[index][begin:], rest, _bits(largest) - begin)
                places.append((where, sums[index][:begin], begin, largest))
            passed = [
                _delayed(m, self.en, value, f"{name}_{start + i}_low") if len(value) else Cat()
                for i, (_, value, _, _) in enumerate(places)
            ]
            totals = second.registered(m, self.en, f"{name}_{start}_second") if second.sums else []
            for low, (where, _, _, largest) in zip(passed, places, strict=True):
                made.append(_Number(low if where is None else Cat(low, totals[where]), largest))
        return made
