"""The interpreter on tiles: loops, and what each instruction does for each token."""

import numpy as np
import pytest

from compiler.assembler import assemble
from hw.isa import MANY_TILES
from hw.machine import CI
from sim.entries import Entry
from sim.interpreter import Interpreter, InterpreterError

from .interpreter_case import NUMBERS, chunk, floats, machine

# --- tiles and loops --------------------------------------------------------------------------------------


@pytest.mark.parametrize("tile", [1, 2, 4])
def test_loops_nest(tile: int):
    """Five tokens go through memory from layer to layer; in each layer something is added to some."""
    text = f"""
    LOOP register=TILE
      FETCH base={NUMBERS} stride=16 bytes=16 index=TOKEN tiled=1
      MAP source=TAPE n=4 tiled=1
      STORE step=16 bytes=16 payload=ACTIVATION tiled=1
    NEXT register=TILE
    LOOP count=2
      LOOP register=TILE
        FETCH stride=16 bytes=16 index=ENTRY tiled=1
        FETCH bytes=0
        FETCH base={NUMBERS} bytes=16
        MAP source=TAPE n=4 tiled=1
        MAP source=TAPE n=4 d=4
        MAP n=4 b=4 function=ADD
        STORE step=16 bytes=16 payload=ACTIVATION tiled=1
      NEXT register=TILE
    NEXT
    STORE base=512 stride=64 step=16 bytes=16 payload=ACTIVATION tiled=1
    END"""
    interpreter = machine(text)
    interpreter.run(chunk(5), tile=tile)
    # An instruction that is not tiled acts for the first token of each tile only.
    added = [2 * np.arange(4) if i % tile == 0 else np.zeros(4) for i in range(5)]
    wanted = [np.arange(4) + 4 * (10 + i) + added[i] for i in range(5)]
    assert floats(interpreter, 0, 20) == np.concatenate(wanted).tolist()
    # Behind the loops: LAYER is 2, TILE the last tile.
    last = (5 - 1) // tile * tile
    at = 512 + 2 * 64 + 16 * last
    assert floats(interpreter, at, 4 * (5 - last)) == np.concatenate(wanted[last:]).tolist()
    tiles = -(-5 // tile)
    assert interpreter.counters["instructions"] == tiles * 2 + 2 * tiles * 4 + 1
    assert interpreter.counters["fetches"] == tiles + 2 * tiles * 3
    assert interpreter.counters["spill_bytes"] == 16 * (5 + 2 * 5 + 5 - last)
    assert interpreter.counters["other_bytes"] == interpreter.counters["kv_read_bytes"] == 0
    assert interpreter.counters["weight_bytes"] == 16 * (5 + 2 * 5 + 2 * tiles)
    assert (interpreter.counters["steps"], interpreter.counters["tokens"]) == (1, 5)


def test_layers_inside_tiles():
    text = f"""
    LOOP register=TILE
      LOOP count=3
        FETCH base={NUMBERS} stride=16 bytes=16 index=LAYER
        MAP source=TAPE n=4
        STORE stride=128 step=16 bytes=16 payload=ACTIVATION
      NEXT
    NEXT register=TILE
    END"""
    interpreter = machine(text)
    interpreter.run(chunk(5), tile=2)
    for layer in range(3):
        for entry in (0, 2, 4):
            assert floats(interpreter, 128 * layer + 16 * entry, 1) == [4 * layer]


def test_many_tiles_is_the_machines():
    text = f"""FETCH base={NUMBERS} bytes=16 predicate={MANY_TILES}
    MAP source=TAPE n=4 predicate={MANY_TILES}
    END"""
    for tokens, wanted, predicates in ((2, 0, 0xFFFF), (3, 1, 0)):
        interpreter = machine(text)
        interpreter.run(chunk(tokens), tile=2, predicates=predicates)
        assert interpreter.counters["fetches"] == wanted


def test_only_live_tokens_are_written():
    interpreter = machine(f"FETCH base={NUMBERS + 16} bytes=48\nMAP source=TAPE n=4 d=4 tiled=1\nEND")
    interpreter.units.act[:] = -1
    interpreter.run(chunk(3), tile=4)
    assert interpreter.units.act[:, 4].tolist() == [4, 8, 12, -1]


def test_predicates_skip():
    interpreter = machine("FETCH bytes=8 predicate=3\nMAP source=TAPE n=4 predicate=3\nEND")
    interpreter.step(0, 0, 1)
    assert interpreter.counters["fetches"] == interpreter.counters["instructions"] == 0


def test_loop_and_memory_base():
    """Layer strides, rows and MEMORY_BASE reach the addresses."""
    text = """LOOP count=3
      FETCH base=16 stride=32 bytes=16 index=LAYER
      MAP source=TAPE n=4 dest=ACTIVATION statistics=1
      QUANTISE target=VALUE n=4
      STORE base=512 stride=32 step=8 bytes=4 payload=VALUE
    NEXT
    END"""
    memory = np.zeros(1024, np.uint8)
    for layer in range(3):
        numbers = np.array([layer + 1, 0, -layer - 1, 0.5], np.float32)
        memory[64 + 16 + 32 * layer :][:16] = numbers.view(np.uint8)
    interpreter = Interpreter(CI, assemble(text), memory, memory_base=64)
    interpreter.run([Entry(0, 1, 1)], tile=1)
    stored = [memory[64 + 512 + 32 * layer + 16 :][:4].view(np.int8).tolist() for layer in range(3)]
    assert stored == [[127, 0, -127, 64], [127, 0, -127, 32], [127, 0, -127, 21]]


# --- instructions for each token --------------------------------------------------------------------------


def test_fetch_for_each_token():
    """By three indices; and older rows of the two sequences of a tile."""
    text = f"""
    FETCH base={NUMBERS} stride=16 bytes=16 index=TOKEN tiled=1
    FETCH base={NUMBERS} stride=16 bytes=16 index=POSITION tiled=1
    FETCH base={NUMBERS} stride=32 bytes=16 index=ENTRY tiled=1
    FETCH base={NUMBERS} stride=512 bytes=16 index=LAYER sequence=1 kind=KV tiled=1
    MAP source=TAPE n=4 d=0 tiled=1
    MAP source=TAPE n=4 d=4 tiled=1
    MAP source=TAPE n=4 d=8 tiled=1
    MAP source=TAPE n=20 d=12
    END"""
    interpreter = machine(text)
    entries = [Entry(9, 2, 8), Entry(7, 3, 8, True), Entry(5, 3, 1)]
    interpreter.run(entries, tile=4)
    act = interpreter.units.act
    assert act[:3, 0].tolist() == [36, 28, 20]
    assert act[:3, 4].tolist() == [8, 12, 12]
    assert act[:3, 8].tolist() == [0, 8, 16]
    assert act[0, 12:32].tolist() == [*range(32, 40), *range(4, 16)]  # rows 8 and 9, then 1 to 3
    assert interpreter.counters["fetches"] == 4
    assert interpreter.counters["kv_read_bytes"] == 5 * 16
    assert interpreter.counters["read_beats"] == 9 * 2 + 5 * 2


def test_fetches_of_many_runs_count_once():
    """Eight FETCHes of four runs may stand before the first taker; a ninth may not."""
    fetch = f"FETCH base={NUMBERS} stride=16 bytes=16 index=ENTRY tiled=1\n"
    interpreter = machine(fetch * 8 + "MAP source=TAPE n=4 tiled=1\n" * 8 + "END")
    interpreter.run(chunk(4), tile=4)
    interpreter = machine(fetch * 9 + "MAP source=TAPE n=4 tiled=1\n" * 9 + "END")
    with pytest.raises(InterpreterError, match="at most 8 fetches"):
        interpreter.run(chunk(4), tile=4)


def test_scalars_constants_and_rope_of_a_tile():
    text = f"""
    FETCH base={NUMBERS} bytes=512
    MAP source=TAPE dest=SCALAR n=128 d=0
    FETCH base={NUMBERS} stride=16 bytes=16 index=ENTRY tiled=1
    MAP source=TAPE dest=CONSTANT n=4 d=8 tiled=1
    FETCH base={NUMBERS + 4 * 16} stride=16 bytes=16 index=ENTRY tiled=1
    MAP source=TAPE dest=SCALAR n=4 d=16 tiled=1
    FETCH base={NUMBERS} stride=32 bytes=32 index=ENTRY tiled=1
    MAP source=TAPE n=8 scaled=1 s1=126 s2=2 statistics=1 segment=4 tiled=1
    MAP n=8 d=8 function=ROPE c=8 segment=4 tiled=1
    NORM stat=1 d=127 tiled=1
    END"""
    interpreter = machine(text)
    interpreter.run(chunk(3), tile=4)
    units = interpreter.units
    assert units.const[8:24].tolist() == [*range(12), 0, 0, 0, 0]
    assert units.scalar[16:32].tolist() == [*range(16, 28), 28, 29, 30, 31]
    for t, s1 in enumerate((126, 127, 0)):
        row = (8 * t + np.arange(8)) * 2 * s1
        assert units.act[t, :8].tolist() == row.tolist()
        assert units.stat_max[t, :2].tolist() == [row[3], row[7]]
        cos, sin = 4 * t + np.array([0, 2, 0, 2]), 4 * t + np.array([1, 3, 1, 3])
        x0, x1 = row[0::2], row[1::2]
        turned = np.stack((x0 * cos - x1 * sin, x1 * cos + x0 * sin), 1).reshape(-1)
        assert units.act[t, 8:16].tolist() == turned.tolist()
    assert units.scalar[[127, 0, 1]].tolist() == [7 * 2 * 126, 15 * 2 * 127, 0]  # d + t wraps
    assert interpreter.counters["vector_elements"] == 128 + 3 * (4 + 4 + 8 + 8)


def test_key_and_value_rows_of_each_token():
    text = f"""
    FETCH base={NUMBERS + 16} stride=16 bytes=16 index=ENTRY tiled=1
    MAP source=TAPE n=4 statistics=1 tiled=1
    QUANTISE target=KEY n=4 d=8 tiled=1
    QUANTISE target=VALUE n=4 tiled=1
    STORE base=0 stride=256 step=16 bytes=12 payload=KEY tiled=1
    STORE base=256 step=8 bytes=4 payload=VALUE tiled=1
    END"""
    interpreter = machine(text)
    interpreter.run([Entry(0, 3, 0), Entry(0, 4, 0, True), Entry(0, 2, 5)], tile=4)
    for row, t in ((3, 0), (4, 1), (7, 2)):
        largest = 7 + 4 * t
        assert floats(interpreter, 16 * row, 2) == [largest, largest]
        codes = np.rint((4 + 4 * t + np.arange(4)) * np.float32(127 / largest)).tolist()
        assert interpreter.memory[16 * row + 8 :][:4].view(np.int8).tolist() == codes
        assert interpreter.memory[256 + 8 * row :][:4].view(np.int8).tolist() == codes
    assert interpreter.counters["kv_write_bytes"] == 3 * 16
    assert not interpreter.memory[16 * 5 : 16 * 7].any()


# --- attention --------------------------------------------------------------------------------------------

ATTENTION = f"""
FETCH base={NUMBERS} stride=32 bytes=32 index=TOKEN tiled=1
MAP source=TAPE n=8 statistics=1 segment=4 tiled=1
QUANTISE target=QUERY n=8 segment=4 tiled=1
QUANTISE target=KEY n=4 d=8 tiled=1
QUANTISE target=VALUE n=4 tiled=1
FETCH base=0 bytes=16 index=LAYER sequence=1 kind=KV tiled=1
FETCH base=512 bytes=8 index=LAYER sequence=1 kind=KV tiled=1
ATTEND half=KEY feed=TAPE first=1 kv_heads=1 group=2 head_size=4 tiled=1
ATTEND half=KEY feed=STAGE last=1 kv_heads=1 group=2 head_size=4 tiled=1
ATTEND half=VALUE feed=TAPE first=1 kv_heads=1 group=2 head_size=4 tiled=1
ATTEND half=VALUE feed=STAGE last=1 kv_heads=1 group=2 head_size=4 tiled=1
MAP source=ATTENTION n=8 tiled=1
STORE base=0 step=16 bytes=12 payload=KEY tiled=1
STORE base=512 step=8 bytes=4 payload=VALUE tiled=1
STORE base=2048 step=32 bytes=32 payload=ACTIVATION tiled=1
END"""


def attention() -> Interpreter:
    interpreter = machine(ATTENTION)
    interpreter.units.scalar[0] = 2.0**-6
    return interpreter


def test_attention_of_a_tile_is_that_of_its_tokens():
    """Two sequences in one tile give what each token gives alone, in bytes, products and scores."""
    entries = [Entry(3, 0, 4), Entry(1, 1, 4, True), Entry(2, 2, 4, True), Entry(7, 1, 20)]
    alone, together = attention(), attention()
    for one in (alone, together):
        one.run([Entry(5, 0, 20)], tile=1)
        one.clear_counters()
    together.run(entries, tile=4)
    found = together.memory[2048:].copy()
    for i, entry in enumerate(entries):
        alone.run([entry._replace(continues=False)], tile=1)
        assert np.array_equal(found[32 * i :][:32], alone.memory[2048:][:32]), i
    alone.memory[2048:] = together.memory[2048:] = 0
    assert np.array_equal(alone.memory, together.memory)
    for name in ("attention_products", "score_saturations", "kv_write_bytes"):
        assert alone.counters[name] == together.counters[name]
    # Rows of older tokens are read once for a sequence of a tile: none of the first, one of the second.
    assert together.counters["kv_read_bytes"] == 24
    assert alone.counters["kv_read_bytes"] == (1 + 2 + 1) * 24
