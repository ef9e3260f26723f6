"""How the binary32 components are driven, and tests of the steps they share."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from amaranth.back import verilog
from amaranth.hdl import Elaboratable, Module, Signal, signed
from amaranth.sim import Simulator

from hw.fp32_format import (
    Bounds,
    bounds,
    bounds_less,
    normalise_coarsely,
    normalise_finely,
    shift_right_sticky,
)


def check_pipeline(
    dut: Any,
    latency: int,
    vectors: Sequence[tuple[dict[str, Any], dict[str, int]]],
    seed: int,
) -> None:
    """Feed ``vectors``, pairs of inputs and expected outputs, one each enabled cycle, with random stalls.

    While ``en`` is 0 the inputs are those of another vector and the outputs must not change.
    """
    rng = random.Random(seed)

    async def bench(ctx: Any) -> None:
        taken = 0
        while taken < len(vectors) + latency:
            enable = rng.random() < 0.9
            inputs = vectors[taken % len(vectors) if enable else rng.randrange(len(vectors))][0]
            ctx.set(dut.en, enable)
            for name, number in inputs.items():
                ctx.set(getattr(dut, name), number)
            await ctx.tick()
            taken += enable
            if taken >= latency:
                inputs, expected = vectors[(taken - latency) % len(vectors)]
                found = {name: ctx.get(getattr(dut, name)) for name in expected}
                assert found == expected, f"{show(inputs)}: wanted {show(expected)}, found {show(found)}"

    simulate(dut, bench)


def check_stream(
    dut: Any,
    latency: int,
    vectors: Sequence[tuple[object, int]],
    seed: int,
) -> None:
    """Send ``vectors``, pairs of payload and expected result, with pauses on both sides.

    ``latency`` is the number of cycles from that of the transfer in to the first in which ``o.valid`` is 1.
    """
    rng = random.Random(seed)

    async def bench(ctx: Any) -> None:
        for payload, expected in vectors:
            while rng.random() < 0.2:
                await ctx.tick()
                assert not ctx.get(dut.o.valid)
            ctx.set(dut.i.valid, 1)
            ctx.set(dut.i.payload, payload)
            ctx.set(dut.o.ready, rng.getrandbits(1))
            assert ctx.get(dut.i.ready)
            await ctx.tick()
            ctx.set(dut.i.valid, rng.getrandbits(1))
            ctx.set(dut.i.payload, vectors[0][0])
            for _ in range(latency - 1):
                assert not ctx.get(dut.o.valid) and not ctx.get(dut.i.ready)
                await ctx.tick()
            ctx.set(dut.o.ready, 0)
            while True:
                found = ctx.get(dut.o.payload)
                assert ctx.get(dut.o.valid) and not ctx.get(dut.i.ready)
                assert found == expected, f"{payload}: wanted {expected:#010x}, found {found:#010x}"
                if rng.random() < 0.7:
                    break
                await ctx.tick()
            ctx.set(dut.i.valid, 0)
            ctx.set(dut.o.ready, 1)
            await ctx.tick()
            ctx.set(dut.o.ready, 0)

    simulate(dut, bench)


def simulate(dut: Elaboratable, bench: Callable) -> None:
    simulator = Simulator(dut)
    simulator.add_clock(1e-6, if_exists=True)
    simulator.add_testbench(bench)
    simulator.run()


def check_verilog(dut: Elaboratable) -> None:
    """``dut`` becomes one Verilog module of its name."""
    name = type(dut).__name__
    assert f"module {name}(" in verilog.convert(dut, name=name)


def show(numbers: dict[str, Any]) -> str:
    """Numbers by name; a structure with its members in brackets."""
    return ", ".join(
        f"{name} = ({show(number)})" if isinstance(number, dict) else f"{name} = {number:#x}"
        for name, number in numbers.items()
    )


@pytest.mark.parametrize("width", [4, 5, 7, 8, 9, 11])
def test_normalise(width: int):
    m = Module()
    number = Signal(width)
    coarse, fours = normalise_coarsely(m, number)
    normal, zeros = normalise_finely(m, coarse)

    async def bench(ctx: Any) -> None:
        for i in range(1, 1 << width):
            ctx.set(number, i)
            expected = width - i.bit_length()
            assert ctx.get(coarse) == i << (expected & ~3)
            assert (ctx.get(normal), 4 * ctx.get(fours) + ctx.get(zeros)) == (i << expected, expected)
        ctx.set(number, 0)
        assert ctx.get(normal) == 0

    simulate(m, bench)


def test_bounds():
    m = Module()
    exponent, less = Signal(signed(10)), Signal(2)
    whole, parts = Signal(Bounds), Signal(Bounds)
    m.d.comb += [
        whole.eq(bounds(exponent)),
        parts.eq(bounds_less(exponent, less)),
    ]

    async def bench(ctx: Any) -> None:
        for e in range(-509, 512):
            ctx.set(exponent, e)
            found = ctx.get(whole)
            wanted = (e <= 0, e == 0, e == 254, e >= 255)
            assert (found.below, found.lowest, found.highest, found.above) == wanted
            for z in range(4 if e < 256 else 2):
                ctx.set(less, z)
                found = ctx.get(parts)
                wanted = (e - z <= 0, e == z, e - z == 254, e - z >= 255)
                assert (found.below, found.lowest, found.highest, found.above) == wanted

    simulate(m, bench)


@pytest.mark.parametrize("width", [2, 5, 8])
def test_shift_right_sticky(width: int):
    m = Module()
    number = Signal(width)
    amount = Signal(4)
    shifted = shift_right_sticky(m, number, amount)

    async def bench(ctx: Any) -> None:
        for i in range(1 << width):
            for shift in range(16):
                ctx.set(number, i)
                ctx.set(amount, shift)
                assert ctx.get(shifted) == i >> shift | (i & (1 << shift) - 1 > 0)

    simulate(m, bench)
