"""The attention unit against a reference made of numerics functions, with stalls on tape and output."""

import dataclasses
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import torch
from amaranth.back import verilog
from amaranth.sim import Simulator

from hw.attention import Attention
from hw.isa import Feed, Pass, encode
from hw.machine import CI, KV260, MachineConfig
from hw.output_scale import OutputScale
from models import numerics
from models.numerics import float_bits

from .attention_case import Case, sequence

#: A tile: sequences of tokens. Rows on the tape and in the stage are those of the cases.
Tile = list[list[Case]]


def machine(bus: int, word: int, lanes: int, group: int, tile: int, cores: int = 0) -> MachineConfig:
    return dataclasses.replace(
        CI, bus_bytes=bus, attention_bytes=word, lanes=lanes, max_group=group, tables=5, head_lanes=8,
        max_heads=8, max_query=256, score_words=256, tile=tile,
        attention_cores=cores,
    )  # fmt: skip


B4 = machine(4, 4, 4, 2, 1)
B8 = machine(8, 8, 4, 4, 4)
B8_ONE = machine(8, 8, 4, 4, 1)
B16 = machine(16, 16, 8, 2, 2)
B16_SMALL = machine(16, 4, 16, 2, 4)
B64 = machine(64, 8, 16, 1, 1)
#: Fewer cores than tokens, words larger than heads or no divisor of them.
SHARED = machine(8, 32, 4, 4, 4, 1)
SHARED_TWO = machine(16, 16, 8, 2, 4, 2)
SHARED_SMALL = machine(64, 4, 16, 8, 8, 2)
SHARED_WIDE = machine(64, 64, 8, 8, 8, 1)
SHARED_HALF = machine(8, 8, 4, 4, 4, 2)
#: A stage of words narrower than a part.
STAGED = dataclasses.replace(machine(32, 32, 4, 4, 4, 1), family="xcup")
#: The sizes of kv260.
LARGE = dataclasses.replace(KV260, score_words=256, max_context=64)


def padded(rows: list[bytes], bus: int, rng: random.Random) -> bytes:
    return b"".join(row + rng.randbytes(-len(row) % bus) for row in rows)


#: Cycles of an ATTEND of no rows by one token, from the one in which it is taken to the one of `done`.
EMPTY = 2


@dataclass
class Result:
    """What the unit did for a tile."""

    heads: list[tuple[list[int], int]] = field(default_factory=list)
    saturated: int = 0
    products: int = 0
    active: int = 0
    starved: int = 0
    cycles: list[int] = field(default_factory=list)
    #: Cycles from the end of the last ATTEND to the first and to the last beat of each token.
    beats: list[int] = field(default_factory=list)


class Bench:
    """Executes ATTEND KEY tape, stage, VALUE tape, stage for each tile; a tile follows as soon as it may."""

    def __init__(
        self, config: MachineConfig, tiles: list[Tile], stall: float, seed: int, held: bool = False
    ) -> None:
        self.config, self.tiles, self.stall, self.held = config, tiles, stall, held
        self.rng = random.Random(seed)
        self.dut = Attention(config)
        self.tokens = [[case for tokens in tile for case in tokens] for tile in tiles]
        self.results = [Result() for _ in tiles]
        self.entries: list[dict[int, dict]] = []
        #: A query write, a scale, or a command with the tape position at which it ends.
        self.steps: list[tuple] = []
        self.tape = b""
        self.written: dict[int, Case] = {}
        for number, tile in enumerate(tiles):
            self.add(number, tile)
        self.tape += self.rng.randbytes(2 * config.unit_bytes)

    def add(self, number: int, tile: Tile) -> None:
        """The entries and steps of a tile."""
        tokens, rng = self.tokens[number], self.rng
        first = rng.randrange(256)
        self.entries.append({})
        for neighbours in tile:
            for i, case in enumerate(neighbours):
                place = len(self.entries[-1])
                # Token 0 begins a sequence whatever its entry says. Only a first token's position counts.
                self.entries[-1][(first + place) % 256] = {
                    "token": rng.getrandbits(20), "base": rng.getrandbits(20),
                    "position": case.position if i == 0 else rng.getrandbits(20),
                    "continues": i > 0 if place else rng.getrandbits(1),
                }  # fmt: skip
        for t, case in enumerate(tokens):
            if self.written.get(t) is not case:
                self.write_query(number, t, case)
        case = tokens[0]
        for half in Pass:
            for feed in case.feeds:
                for mine in (neighbours[0] for neighbours in tile if feed == Feed.TAPE):
                    row = mine.value_row if half == Pass.VALUE else mine.key_row
                    self.tape += padded([row(r) for r in range(mine.position)], self.config.bus_bytes, rng)
                command = encode(
                    "ATTEND", half=half, feed=feed, first=feed == case.feeds[0], last=feed == case.feeds[-1],
                    kv_heads=case.kv_heads, group=case.group, head_size=case.head_size,
                )  # fmt: skip
                payload = {"word": command, "layer": 0, "first": first, "more": len(tokens) - 1}
                self.steps.append(("command", number, payload, len(self.tape), feed))

    def write_query(self, number: int, t: int, case: Case) -> None:
        self.written[t] = case
        flat, lanes = case.q.remainder(65536).tolist(), self.config.lanes
        for head in range(case.heads):
            scale = int(float_bits(case.s_q)[head])
            self.steps.append(("scale", number, {"scale_token": t, "scale_head": head, "scale": scale}))
            for first in range(0, case.head_size, lanes):
                data = sum(flat[head][first + i] << 16 * i for i in range(lanes))
                address = head * case.head_size + first
                self.steps.append(("query", number, {"token": t, "address": address, "data": data}))

    def staged(self, number: int, t: int, value: int) -> bytes:
        """The row in bank t of the stage."""
        if t >= len(self.tokens[number]) or Feed.STAGE not in self.tokens[number][t].feeds:
            return b""
        case = self.tokens[number][t]
        return (case.value_row if value else case.key_row)(case.tokens - 1)

    async def run(self, ctx) -> None:
        dut, config, rng, stall, steps = self.dut, self.config, self.rng, self.stall, self.steps
        lanes = config.lanes
        place = step = 0
        issued: list[tuple] = []
        done = cycle = finished_at = 0
        stage_data = 0
        free = True
        beats: list[tuple[int, int]] = []
        times: list[int] = []
        expected_beats = sum(c.heads * c.head_size // lanes for tokens in self.tokens for c in tokens)
        while len(beats) < expected_beats or done < len(issued) or step < len(steps):
            assert cycle < 30000, "the unit hangs"
            kind, number, *rest = steps[step] if step < len(steps) else ("end", len(self.tiles) - 1)
            writable = done == len(issued)
            ctx.set(dut.unit.command.valid, kind == "command")
            ctx.set(dut.query.en, kind == "query" and writable)
            ctx.set(dut.query.scale_en, kind == "scale" and writable)
            if kind == "command":
                ctx.set(dut.unit.command.payload, rest[0])
            elif kind != "end":
                for name, value in rest[0].items():
                    ctx.set(getattr(dut.query, name), value)
            running = issued[done] if done < len(issued) else None
            entries = self.entries[number if running is None else running[1]]
            rubbish = {"token": 0, "base": 0, "position": rng.getrandbits(20), "continues": 1}
            ctx.set(dut.entries.entry, entries.get(ctx.get(dut.entries.index), rubbish))
            level = config.unit_bytes if rng.random() >= stall else rng.randrange(config.unit_bytes)
            level = min(level, len(self.tape) - place)
            present = self.tape[place : place + level] + rng.randbytes(config.unit_bytes - level)
            want = ctx.get(dut.tape.want)
            ctx.set(dut.tape.enough, level >= want)
            ctx.set(dut.tape.data, int.from_bytes(present, "little"))
            free = not self.held and (free or rng.random() >= max(stall, 0.8))
            ctx.set(dut.tape_free, free)
            ctx.set(dut.stage.data, stage_data)
            ctx.set(dut.output.ready, rng.random() >= stall)

            take = want if ctx.get(dut.tape.take) else 0
            from_tape = running is not None and running[4] == Feed.TAPE
            assert take <= level
            assert from_tape or (take == 0 and not ctx.get(dut.tape.starved))
            assert not (take and ctx.get(dut.tape.starved))
            assert free or not (take or ctx.get(dut.tape.starved))
            if issued:  # scores may be under way between two ATTENDs of a pass
                self.results[issued[-1][1]].saturated += ctx.get(dut.score_saturated)
            if running is not None:
                result = self.results[running[1]]
                result.products += ctx.get(dut.products)
                result.active += ctx.get(dut.active)
                result.starved += ctx.get(dut.tape.starved)
            else:
                assert not ctx.get(dut.products)
                assert not ctx.get(dut.active)
            if ctx.get(dut.output.valid) and ctx.get(dut.output.ready):
                beats.append((ctx.get(dut.output.payload.sums), ctx.get(dut.output.payload.scale)))
                times.append(cycle - finished_at)
            staged = number if running is None else running[1]
            row = self.staged(staged, ctx.get(dut.stage.token), ctx.get(dut.stage.value))
            address = ctx.get(dut.stage.address)
            size = config.stage_word
            assert address % size == 0
            stage_data = int.from_bytes((row[address:] + rng.randbytes(size))[:size], "little")
            if not ctx.get(dut.stage.en):
                stage_data = rng.getrandbits(8 * size)
            accepted = kind == "command" and ctx.get(dut.unit.command.ready)
            finished = ctx.get(dut.unit.done)
            await ctx.tick()
            cycle += 1
            place += take
            if finished:
                assert place == running[3], "bytes taken"
                self.results[running[1]].cycles.append(cycle - running[5])
                finished_at = cycle - 1
                done += 1
            if accepted:
                free = rng.random() >= stall
                issued.append((*steps[step], cycle))
                assert len(issued) == done + 1
            step += accepted or (kind in ("query", "scale") and writable)

        for tokens, result in zip(self.tokens, self.results, strict=True):
            for case in tokens:
                per_head = case.head_size // lanes
                result.beats += [times[0], times[case.heads * per_head - 1]]
                times = times[case.heads * per_head :]
                for _ in range(case.heads):
                    mine, beats = beats[:per_head], beats[per_head:]
                    sums = sum(x << 48 * lanes * i for i, (x, _) in enumerate(mine))
                    fields = [sums >> 48 * i & (1 << 48) - 1 for i in range(case.head_size)]
                    scales = {scale for _, scale in mine}
                    assert len(scales) == 1
                    result.heads.append(([x - (x >> 47 << 48) for x in fields], scales.pop()))


def check(
    config: MachineConfig, tiles: list[Tile], stall: float = 0.3, seed: int = 0, held: bool = False
) -> list[Result]:
    """Run the tiles; outputs and counts must be those of each token on its own. held: not the tape."""
    bench = Bench(config, tiles, stall, seed, held)
    simulator = Simulator(bench.dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench.run)
    simulator.run()
    for tokens, result in zip(bench.tokens, bench.results, strict=True):
        assert result.heads == [head for case in tokens for head in case.output()]
        assert result.saturated == sum(case.saturated() for case in tokens)
        assert result.products == sum(2 * case.tokens * case.heads * case.head_size for case in tokens)
    return bench.results


def alone(cases: list[Case]) -> list[Tile]:
    """Each in a tile of its own."""
    return [[[case]] for case in cases]


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (B4, (1, 1, 4, 5)),
        (B4, (3, 2, 8, 3)),
        (B8, (1, 4, 8, 7)),
        (B8, (4, 2, 16, 3)),
        (B8, (3, 1, 24, 4)),
        (B16, (1, 2, 16, 5)),
        (B16, (3, 1, 32, 4)),
        (B16_SMALL, (3, 2, 16, 4)),
        (B64, (3, 1, 16, 3)),
        (B8, (2, 3, 12, 3)),
        (SHARED, (2, 2, 12, 4)),
        (SHARED_TWO, (2, 1, 24, 3)),
        (SHARED_SMALL, (1, 5, 16, 3)),
        (SHARED_WIDE, (3, 1, 40, 3)),
        (STAGED, (2, 2, 40, 3)),
        (STAGED, (8, 1, 8, 3)),
    ],
)
def test_shapes(config: MachineConfig, shape: tuple[int, int, int, int]):
    cases = [Case(*shape, seed=1), Case(*shape[:3], 1, seed=2), Case(*shape, seed=3, spread=60.0)]
    check(config, alone(cases))


#: Sequences of a tile as (position, tokens).
TILES = [
    [(3, 4)],
    [(0, 3)],
    [(2, 1), (0, 1), (5, 1), (1, 1)],
    [(0, 2), (3, 2)],
    [(4, 1), (1, 3)],
    [(0, 1), (0, 1), (2, 1)],
    [(2, 2)],
    [(1, 1), (4, 1)],
    [(0, 1)],
    [(6, 1)],
]


@pytest.mark.parametrize(
    ("config", "shape", "stall", "number"),
    [
        (B4, (2, 2, 8), 0.4, 2),
        (B8, (2, 2, 8), 0.4, 8),
        (B8, (1, 4, 16), 0.0, 3),
        (B16, (2, 1, 16), 0.4, 4),
        (B16_SMALL, (3, 2, 16), 0.2, 3),
        (SHARED, (2, 2, 12), 0.3, 5),
        (SHARED_TWO, (2, 2, 24), 0.0, 4),
        (SHARED_SMALL, (1, 8, 16), 0.2, 3),
        (SHARED_WIDE, (2, 2, 40), 0.3, 4),
        (STAGED, (2, 2, 40), 0.3, 4),
        (STAGED, (2, 4, 24), 0.0, 5),
    ],
)
def test_tiles(config: MachineConfig, shape: tuple[int, int, int], stall: float, number: int):
    """One sequence, several and both; any number of live tokens; with and without older ones."""
    rng = random.Random(str(shape))
    kinds = [kind for kind in TILES if sum(count for _, count in kind) <= config.tile]
    tiles = []
    for n, kind in enumerate(rng.sample(kinds, number)):
        spread = rng.choice([4.0, 60.0, 1e6])
        tiles.append([sequence(shape, *place, 10 * n + i, spread=spread) for i, place in enumerate(kind)])
    check(config, tiles, stall)


@pytest.mark.parametrize("feeds", [(Feed.TAPE,), (Feed.STAGE,)])
def test_tiles_of_one_feed(feeds: tuple[Feed, ...]):
    tiles = [[sequence((2, 2, 8), *place, 10 * n + i, feeds) for i, place in enumerate(kind)]
             for n, kind in enumerate(TILES[:4])]  # fmt: skip
    check(B8, tiles)


def test_rows_of_the_stage_do_not_wait_for_the_tape():
    check(B8, alone([Case(2, 2, 8, 1, seed=3, feeds=(Feed.STAGE,))]), held=True)


def test_idle_tokens_keep_their_queries():
    """Tokens that a tile does not have are not touched: a later tile finds what was written for them."""
    one, two, three = (sequence((2, 2, 8), 2, 4, seed) for seed in range(3))
    check(B8, [[one], [two[:1]], [one], [three[:2]], [one]])


def test_rounds_of_different_models():
    cases = [Case(1, 1, 8, 6, 1), Case(4, 1, 16, 2, 2), Case(1, 4, 8, 1, 3), Case(2, 3, 24, 3, 4)]
    check(B8, alone(cases), 0.5)


def test_feeds():
    tape, stage = (Feed.TAPE,), (Feed.STAGE,)
    pairs = Case(2, 2, 8, 1, 1, feeds=stage), Case(2, 2, 8, 0, 2, feeds=tape), Case(2, 2, 8, 3, 3, feeds=tape)
    odd = Case(3, 1, 16, 0, 4, feeds=tape), Case(3, 1, 16, 1, 5, feeds=stage)
    check(B8, alone([*pairs, *odd]))


def test_zero_scales():
    cases = [Case(2, 2, 8, 4, seed) for seed in range(6)]
    cases[0].s_k[1:3] = 0
    cases[1].s_v[:, 1] = 0
    cases[2].s_v[1:3, 0] = 0
    cases[3].s_v[:] = 0
    cases[4].s_q[1] = 0
    cases[5].q[:] = 0
    assert len(set(cases[5].scores().flatten().tolist())) == 1
    check(B8_ONE, alone(cases))


def test_extreme_scales():
    distant = Case(2, 2, 8, 6, 1, spread=1000.0)
    assert (distant.probabilities() == 0).any()
    saturated = Case(2, 2, 8, 4, 2, spread=1e6)
    assert 0 < saturated.saturated() < 16
    both = Case(1, 1, 8, 5, 3, spread=1e9)
    assert {-numerics.SCORE_LIMIT, numerics.SCORE_LIMIT} <= set(both.scores().flatten().tolist())
    negative = Case(1, 2, 8, 3, 4)
    negative.k, negative.q = -negative.k.abs() - 1, negative.q.abs() + 1
    assert (negative.scores() < 0).all()
    values = Case(2, 2, 8, 6, 5)
    values.s_v[:3, 0] = torch.tensor([2.0**-100, 2.0**126, 1.5 * 2.0**127])
    values.s_v[:3, 1] = torch.tensor([2.0**-100, 2.0**-99, 1.25 * 2.0**-100])
    values.s_v[3:, 1] = 0
    largest = Case(1, 2, 24, 3, 6)
    largest.q[:], largest.k[:], largest.v[:] = 32767, -127, 127
    check(B8_ONE, alone([distant, saturated, both, negative, values, largest]))


def row_cycles(config: MachineConfig, shape: tuple[int, int, int], seen: int = 1) -> tuple[int, int]:
    """Of a K and a V row that ``seen`` tokens of a core see, without padding."""
    kv_heads, group, head_size = shape
    steps, parts = seen * group, kv_heads * -(-head_size // config.attention_bytes)
    pairs = -(-kv_heads // config.scale_pairs)
    return (parts - 1) * steps + max(steps, 1 + pairs), max(parts * steps, 2)


@pytest.fixture
def deep() -> Iterator[None]:
    """The simulator makes one expression of a word of 128 elements, too deep for Python as it is."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20000)
    yield
    sys.setrecursionlimit(limit)


def from_stage(config: MachineConfig, shape: tuple[int, int, int], scales: int) -> int:
    """Cycles in which a narrow stage has a row."""
    kv_heads, _, head_size = shape
    narrow = config.stage_word < config.attention_bytes
    return -(-kv_heads * (head_size + scales) // config.stage_word) if narrow else 0


@pytest.mark.usefixtures("deep")
@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (STAGED, (2, 4, 32)),
        (STAGED, (4, 1, 8)),
        (B8_ONE, (2, 1, 24)),
        (B8_ONE, (2, 4, 16)),
        (B8, (2, 2, 24)),
        (B8_ONE, (1, 1, 8)),
        (SHARED, (2, 1, 12)),
        (SHARED_TWO, (4, 1, 24)),
        (LARGE, (16, 1, 96)),
    ],
)
def test_cycles(config: MachineConfig, shape: tuple[int, int, int]):
    """Without stalls: the slope of each pass, and what start and finish may cost."""
    cases = [Case(*shape, tokens, 1) for tokens in (1, 3, 8)]
    results = check(config, alone(cases), 0.0)
    none, few, many = (result.cycles for result in results)
    key, value = row_cycles(config, shape)
    assert [after - before for before, after in zip(few, many, strict=True)] == [5 * key, 0, 5 * value, 0]
    assert none[0] == EMPTY
    assert few[0] - 2 * key <= 2
    assert few[1] - key - from_stage(config, shape, 8) <= 28
    assert few[2] - 2 * value <= 13
    assert few[3] - value - from_stage(config, shape, 0) <= 9
    kv_heads, group, head_size = shape
    beats, latency = kv_heads * group * head_size // config.lanes, OutputScale(config).latency
    assert [result.beats for result in results] == [
        [latency, latency + beats - 1],
    ] * 3
    if config is LARGE:
        assert key + value <= 40


@pytest.mark.parametrize("config", [B8, SHARED, SHARED_HALF], ids=["a core a token", "one core", "two"])
def test_cycles_of_a_tile(config: MachineConfig):
    """What rows cost each core, plus some for each token and each run of rows."""
    shape = 2, 2, 24
    batch = [sequence(shape, position, 1, position) for position in (3, 0, 7, 2)]
    results = check(config, [[sequence(shape, 12, 4, 1)], batch], 0.0)
    cores = config.attention_cores or 4
    for result, runs in zip(results, (1, 4), strict=True):
        run_tape, run_stage = 3 + 2 * (runs - 1), 3 + 4 * 3
        key, value = row_cycles(config, shape, -(-4 // cores) if runs == 1 else 1)
        seen = [-(-n // cores) if runs == 1 else 1 for n in (4, 3, 2, 1)]
        key_stage, value_stage = (sum(row_cycles(config, shape, n)[half] for n in seen) for half in range(2))
        assert result.cycles[0] - 12 * key <= 2 + run_tape
        assert result.cycles[1] - key_stage <= 28 + run_stage
        assert result.cycles[2] - 12 * value <= 13 + run_tape
        assert result.cycles[3] - value_stage <= 9 + run_stage
        # A beat a cycle, once the first scale is there: 24 a token.
        first = [OutputScale(config).latency + 24 * t for t in range(4)]
        assert result.beats == [beat for start in first for beat in (start, start + 23)]


def test_verilog():
    assert "module Attention(" in verilog.convert(Attention(B8), name="Attention")
