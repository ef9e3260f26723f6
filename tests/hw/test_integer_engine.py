"""IntegerEngine: pairs of random length and groups, with pauses and stalls, against exact sums."""

import dataclasses
import random

import pytest
from amaranth.sim import Simulator

from hw.integer_engine import IntegerEngine
from hw.machine import CI


def wrapped(value: int) -> int:
    return (value + 2**47) % 2**48 - 2**47


def packed(values: list[int], bits: int) -> int:
    return sum((v & (1 << bits) - 1) << i * bits for i, v in enumerate(values))


class Pairs:
    """Random pairs of rows: what the engine is given, cycle by cycle, and the sums that it owes."""

    def __init__(self, rng: random.Random, lanes: int, tokens: int, bits: int, count: int) -> None:
        self.events: list[dict] = []
        self.sums: list[list[int]] = []
        levels = 127 if bits == 8 else 2047
        for number in range(count):
            width = rng.choice((4, 8))
            half = 1 << width - 1
            corner = [-half, half - 1] if number < 6 else range(-half, half)
            numbers = [-levels, levels] if number < 6 else range(-levels, levels + 1)
            factors = (-(2**15), 2**15 - 1, 0, 1) if number < 6 else range(-(2**15), 2**15)
            codes_in_unit = lanes if width == 4 else lanes // 2
            total = [[0] * tokens for _ in range(2)]
            grouped = rng.random() < 0.7
            groups = rng.choice((1, 2, 5)) if grouped else 1
            for group in range(groups):
                dot, x_sum = [[0] * tokens for _ in range(2)], [0] * tokens
                for _ in range(rng.choice((1, 1, 2, 7))):
                    weights = [[rng.choice(corner) for _ in range(codes_in_unit)] for _ in range(2)]
                    xs = [[rng.choice(numbers) for _ in range(lanes)] for _ in range(tokens)]
                    count_live = rng.choice((codes_in_unit, rng.randint(0, codes_in_unit)))
                    mixed = [w for pair in zip(*weights, strict=True) for w in pair]
                    for t in range(tokens):
                        x_sum[t] += sum(xs[t][:count_live])
                        for r in range(2):
                            dot[r][t] += sum(
                                a * b for a, b in zip(xs[t][:count_live], weights[r], strict=False)
                            )
                    self.events.append({
                        "take": 1, "narrow": width == 4, "codes": packed(mixed, width),
                        "live": (1 << count_live) - 1, "activations": [packed(x, bits) for x in xs],
                    })  # fmt: skip
                scale = [rng.choice(factors) if grouped else 1 for _ in range(2)]
                minimum = [rng.choice(factors) if grouped else 0 for _ in range(2)]
                for r in range(2):
                    for t in range(tokens):
                        total[r][t] += scale[r] * dot[r][t] + minimum[r] * x_sum[t]
                with_final = group == groups - 1 and not grouped
                self.events.append(
                    {"end": 1, "final": with_final, "factors": {"scale": scale, "minimum": minimum}}
                )
            if grouped:
                self.events.append({"final": 1})
            self.sums.append([wrapped(v) for row in total for v in row])


@pytest.mark.parametrize(
    ("lanes", "tokens", "bits", "family"),
    [
        (2, 1, 8, "ecp5"),
        (4, 1, 12, "ecp5"),
        (4, 4, 8, "xcup"),
        (16, 1, 12, "xcup"),
        (16, 2, 12, "ecp5"),
        (64, 1, 8, "xcup"),
        (32, 2, 8, "xcup"),
    ],
)
def test_pairs(lanes: int, tokens: int, bits: int, family: str):
    rng = random.Random(lanes * tokens)
    config = dataclasses.replace(CI, head_lanes=lanes, tile=tokens, activation_bits=bits, family=family)
    # With one token what comes is a register first.
    dut = IntegerEngine(dataclasses.replace(config, multiply_cycles=4 if tokens == 1 else 3))
    assert dut.early == (tokens == 1)
    pairs = Pairs(rng, lanes, tokens, bits, count=30)
    live = [t == 0 or t % 3 > 0 for t in range(tokens)] * 2  # the sums of the other tokens stand still
    idle = {"take": 0, "end": 0, "final": 0}

    async def bench(ctx) -> None:
        ctx.set(dut.live_tokens, sum(bit << t for t, bit in enumerate(live[:tokens])))
        queue = iter(pairs.events)
        found: list[list[int]] = []
        since_final: list[int] = []
        pause = 0
        while len(found) < len(pairs.sums):
            enable = rng.random() < 0.8
            if not enable:  # what is there while the engine stands still does not count
                event = idle | rng.choice(pairs.events)
            else:
                if rng.random() < 0.03:  # until nothing passes any more
                    pause = rng.randrange(dut.latency, 2 * dut.latency)
                quiet = pause > 0 or rng.random() < 0.15
                event = idle | ({"narrow": rng.randrange(2)} if quiet else next(queue, idle))
                pause = max(0, pause - 1)
            ctx.set(dut.en, enable)
            for name, value in event.items():
                ctx.set(getattr(dut, name), value)
            ctx.set(dut.begins, any(event[name] for name in idle))
            _, _, valid, sums = await ctx.tick().sample(dut.valid, dut.sums)
            if enable:
                since_final = [age + 1 for age in since_final]
                if valid:
                    found.append(list(sums))
                    assert since_final.pop(0) == dut.latency
                if event["final"]:
                    since_final.append(0)
        wanted = [[s if on else 0 for s, on in zip(row, live, strict=True)] for row in pairs.sums]
        assert found == wanted

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
