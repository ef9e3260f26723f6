"""The interpreter's HEAD, steps, stop tokens and batches; and what an observer sees."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from compiler.assembler import assemble
from hw.machine import CI
from sim.entries import Entry
from sim.interpreter import Interpreter
from sim.interpreter_tape import Write

from .interpreter_case import NUMBERS, chunk, machine

# --- head and steps ---------------------------------------------------------------------------------------

VOCAB = 16
#: Token i is followed by i + 1 (modulo VOCAB).
COUNTING = f"""
FETCH base=0 stride=64 bytes=64 index=TOKEN tiled=1
MAP source=TAPE n=16 statistics=1 tiled=1
QUANTISE n=16 tiled=1
NORM d=4 tiled=1
FETCH base=1024 bytes={VOCAB * 20} predicate=3
HEAD rows={VOCAB} k=16 scale=4 emit=1 predicate=3 tiled=1
STORE base=2048 bytes={VOCAB * 4} payload=LOGITS predicate=1 tiled=1
END"""


def counting(text: str = COUNTING, **sizes: int) -> Interpreter:
    memory = np.zeros(4096, np.uint8)
    memory[:1024] = np.eye(VOCAB, dtype=np.float32).reshape(-1).view(np.uint8)
    head = np.zeros((VOCAB // 2, 40), np.uint8)  # a pair of rows: codes by turns, then both scales
    head[:, :32] = (
        np.roll(np.eye(VOCAB, dtype=np.uint8), 1, axis=0).reshape(-1, 2, 16).swapaxes(1, 2).reshape(-1, 32)
    )
    head[:, 32:] = (0.5 + np.arange(VOCAB, dtype=np.float32)).view(np.uint8).reshape(-1, 8)
    memory[1024 : 1024 + VOCAB * 20] = head.reshape(-1)
    return Interpreter(dataclasses.replace(CI, **sizes), assemble(text), memory)


def test_head_of_each_token():
    interpreter = counting(top_k=3)
    assert interpreter.run(chunk(3)[:1] + [Entry(2, 0), Entry(4, 0)], tile=4, predicates=0b1010) == [[5]]
    assert interpreter.next_token[:3] == [11, 3, 5]
    for t, token in enumerate((11, 3, 5)):
        ids, values = interpreter.top(t)
        assert ids == [token, 0, 1]
        assert values == [127 * (0.5 + token), 0, 0]
    logits = interpreter.memory[2048:][: VOCAB * 12].view(np.float32).reshape(VOCAB, 3)  # row by row
    assert [np.flatnonzero(column).tolist() for column in logits.T] == [[11], [3], [5]]
    assert interpreter.counters["integer_products"] == 3 * VOCAB * 16
    assert interpreter.counters["logit_bytes"] == 3 * VOCAB * 4


def test_top_of_fewer_rows():
    interpreter = counting(COUNTING.replace(f"rows={VOCAB}", "rows=2").replace(f"{VOCAB * 20}", "40"))
    interpreter.step(0, 0, 0b1000)
    assert interpreter.top(0)[0] == [1, 0]


def test_steps():
    interpreter = counting()
    found = interpreter.run([Entry(2, 7, 3), Entry(3, 8, 3, True)], tile=2, steps=5, predicates=0b1000)
    assert found == [[4], [5], [6], [7], [8]]
    assert interpreter.generated == 5
    assert interpreter.output[:6] == [4, 5, 6, 7, 8, 0]
    assert interpreter.entries == [Entry(8, 13, 3)]
    assert (interpreter.counters["steps"], interpreter.counters["tokens"]) == (5, 6)


def test_next_token_is_that_of_the_last_tile():
    interpreter = counting(
        COUNTING.replace("END", "").join(["LOOP register=TILE", "NEXT register=TILE\nEND"])
    )
    entries = [Entry(token, 0) for token in (1, 5, 9, 3, 7)]
    assert interpreter.run(entries, tile=2, steps=3, predicates=0b1000) == [[8], [9], [10]]
    assert interpreter.run(entries[:4], tile=2, predicates=0b1000) == [[4]]


@pytest.mark.parametrize(
    ("stops", "wanted"), [((5,), [4, 5]), ((4,), [4]), ((15, 6), [4, 5, 6]), ((3, 12), [4, 5, 6, 7])]
)
def test_stop_tokens(stops: tuple[int, ...], wanted: list[int]):
    interpreter = counting()
    found = interpreter.run([Entry(3, 0)], tile=1, steps=4, stops=stops, predicates=0b1000)
    assert found == [[token] for token in wanted]
    assert interpreter.generated == len(wanted)


def test_batch_stops_when_all_have():
    interpreter = counting()
    entries = [Entry(0, 5, 0), Entry(4, 0, 64), Entry(2, 9, 32)]
    found = interpreter.run(entries, tile=4, steps=9, stops=(5, 3), batch=True, predicates=0b1000)
    assert found == [[1, 5, 3], [2, 6, 4], [3, 7, 5]]  # the last to stop is the first sequence
    assert interpreter.entries == [Entry(3, 8, 0), Entry(7, 3, 64), Entry(5, 12, 32)]
    assert interpreter.output[:9] == [1, 5, 3, 2, 6, 4, 3, 7, 5]
    again = interpreter.run(entries[:1], tile=1, steps=2, stops=(5,), batch=True, predicates=0b1000)
    assert again == [[1], [2]]  # who had stopped is forgotten at the doorbell


def test_output_log_wraps():
    interpreter = counting(max_context=4)
    interpreter.run([Entry(0, 0)], tile=1, steps=6, predicates=0b1000)
    assert interpreter.output == [5, 6, 3, 4]


# --- observer ---------------------------------------------------------------------------------------------


def test_observer_sees_what_is_written():
    seen: dict[str, list[tuple[int, int, int, int, list[Write]]]] = {}

    def observer(
        index: int, name: str, _: dict[str, int], layer: int, first: int, more: int, writes: Sequence[Write]
    ) -> None:
        seen.setdefault(name, []).append((index, layer, first, more, list(writes)))

    interpreter = counting(
        COUNTING.replace("QUANTISE", "QUANTISE target=KEY n=8 d=8 tiled=1\nQUANTISE").replace(
            "END", "STORE base=3072 step=16 bytes=16 tiled=1\nEND"
        )
    )
    interpreter.observer = observer
    interpreter.run([Entry(2, 0), Entry(4, 9)], tile=2, predicates=0b1010)

    def flat(writes: Sequence[Write]) -> list[tuple]:
        return [(memory, t, first, values.tolist()) for memory, t, first, values in writes]

    one = int(np.float32(1).view(np.uint32))
    (index, *command, writes), *none = seen["MAP"]
    assert (index, command, none) == (1, [0, 0, 1], [])
    assert [(memory, t, first) for memory, t, first, _ in writes] == [
        ("STAT_TOTAL", 0, 0), ("STAT_TOTAL", 1, 0), ("STAT_MAXIMUM", 0, 0), ("STAT_MAXIMUM", 1, 0),
        ("ACT", 0, 0), ("ACT", 1, 0),
    ]  # fmt: skip
    assert writes[-1][3].dtype == np.uint32
    assert writes[-1][3].tolist() == [one * (i == 4) for i in range(16)]
    assert flat(seen["QUANTISE"][0][-1])[:2] == [("STAGE_K", t, 0, [0, 0, 128, 63]) for t in range(2)]
    assert flat(seen["QUANTISE"][0][-1])[3] == ("STAGE_K", 1, 8, [127 * (i == 4) for i in range(8)])
    assert flat(seen["QUANTISE"][1][-1])[0] == ("Q", 0, 0, [127 * (i == 2) for i in range(16)])
    assert flat(seen["NORM"][0][-1]) == [("SCALAR", None, 4, [one]), ("SCALAR", None, 5, [one])]
    top = flat(seen["HEAD"][0][-1])
    assert [(memory, t, values[0]) for memory, t, _, values in top] == [
        ("TOP", t, [token, int(np.float32(127 * (0.5 + token)).view(np.uint32))])
        for t, token in enumerate((3, 5))
    ]
    rows = flat(seen["STORE"][1][-1])
    assert [row[:3] for row in rows] == [("MEMORY", None, 3072), ("MEMORY", None, 3072 + 16 * 9)]
    assert rows[0][3] == [0, 0, 128, 63, 0, 0, 0, 0, 0, 0, 127, 0, 0, 0, 0, 0]
    assert {name: len(found) for name, found in seen.items() if name in ("FETCH", "END")} == {
        "FETCH": 2,
        "END": 1,
    }
    assert all(not found[-1] for found in seen["FETCH"])


def test_observer_sees_loops_and_common_memories():
    seen: list[tuple] = []
    text = f"""LOOP register=TILE
      FETCH base={NUMBERS} bytes=16
      MAP source=TAPE n=4 d=8 dest=CONSTANT
    NEXT register=TILE
    END"""
    interpreter = machine(text)
    interpreter.observer = lambda index, _name, _f, _layer, first, more, writes: seen.append(
        (index, first, more, [write[:3] for write in writes])
    )
    interpreter.run(chunk(3), tile=2)
    body = [(1, []), (2, [("CONST", None, 8)]), (3, [])]
    turns = [(i, first, 0, writes) for first in (0, 2) for i, writes in body]
    assert seen == [(0, 0, 0, []), *turns, (4, 2, 0, [])]
