"""Adders of the older forms: a tree of signed terms, and one whose nodes leave signs to the end."""

from amaranth.hdl import Cat, Module, Signal, Value, signed

from hw.add_sub import add_sub

__all__ = ["deferred_sum", "signed_sum"]


def signed_sum(m: Module, terms: list[Value], partial: Value, name: str) -> tuple[Value, int]:
    """The registered sum of signed terms and a partial sum, and its cycles; a register after each adder.

    ``partial`` is wanted one cycle before the sum.
    """
    level = 0
    while len(terms) > 1:
        sums = [a + b for a, b in zip(terms[::2], terms[1::2], strict=False)] + terms[len(terms) & ~1 :]
        terms = []
        for i, value in enumerate(sums):
            register = Signal(value.shape(), name=f"{name}_level{level}_{i}", reset_less=True)
            m.d.sync += register.eq(value)
            terms.append(register)
        level += 1
    total = Signal(signed(len(partial)), name=f"{name}_sum", reset_less=True)
    m.d.sync += total.eq(partial + terms[0])
    return total, level + 1


def deferred_sum(m: Module, terms: list[tuple[Value, Value]], partial: Value, name: str) -> tuple[Value, int]:
    """As `signed_sum`, of terms (value, negative): a node computes a + b or a - b and hands up the sign of a;
    the last adder applies it."""
    level = 0
    while len(terms) > 1:
        made: list[tuple[Value, Value]] = []
        for i in range(0, len(terms), 2):
            pair = terms[i : i + 2]
            (a, minus_a), (b, minus_b) = pair[0], pair[-1]
            bits = max(len(a), len(b)) + (len(pair) == 2)
            wide = Cat(a, a[-1].replicate(bits - len(a)))
            value = add_sub(wide, b, minus_a ^ minus_b) if len(pair) == 2 else a
            register = Signal(signed(bits), name=f"{name}_level{level}_{i}", reset_less=True)
            minus = Signal(name=f"{name}_minus{level}_{i}", reset_less=True)
            m.d.sync += [register.eq(value), minus.eq(minus_a)]
            made.append((register, minus))
        terms, level = made, level + 1
    value, minus = terms[0]
    total = Signal(signed(len(partial)), name=f"{name}_sum", reset_less=True)
    m.d.sync += total.eq(add_sub(partial, value, minus))
    return total, level + 1
