"""Turn a row of lanes round by a number known at run time, in multiplexers of four."""

from collections.abc import Callable, Sequence

from amaranth.hdl import Const, Module, Signal, Value

from .mux_tree import mux_tree

__all__ = ["above", "rotate"]


def above(value: Value, number: int) -> Value:
    """``value > number`` for a number of no more bits, without a carry chain."""
    found: Value = Const(0, 1)
    for i in range(len(value)):
        found = value[i] & found if number >> i & 1 else value[i] | found
    return found


def _choice(_: str, select: Value, words: Sequence[Value]) -> Value:
    return mux_tree(select, words)


def rotate(
    m: Module, lanes: Sequence[Value], by: Value, name: str, left: bool = False,
    choose: Callable[[str, Value, Sequence[Value]], Value] = _choice,
) -> Sequence[Value]:  # fmt: skip
    """Lane ``(i + by) % len(lanes)`` as the i-th, or with ``left`` lane ``(i - by) % len(lanes)``.

    ``lanes`` are as many as ``by`` has values, a power of two, all of one width. A choice of four for each
    two bits of ``by``, one of two for an odd one: 7 bits take 3.5 LUT6 for each bit of a lane. Combinational;
    ``name`` begins the names of what is between. ``choose`` makes a multiplexer: of a name, a select, words.
    """
    count, bits = len(lanes), len(by)
    if count != 1 << bits:
        raise ValueError(f"rotate: wanted {1 << bits} lanes for {bits} bits, found {count}")
    while bits:
        taken = 2 - bits % 2
        bits -= taken
        step = -(1 << bits) if left else 1 << bits
        turned = []
        for i in range(count):
            choices = [lanes[(i + step * n) % count] for n in range(1 << taken)]
            lane = Signal(len(choices[0]), name=f"{name}_{bits}_{i}")
            m.d.comb += lane.eq(choose(lane.name, by[bits : bits + taken], choices))
            turned.append(lane)
        lanes = turned
    return lanes
