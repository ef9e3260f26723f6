"""The proof at the level of models: golden model, interpreter and RTL agree on every bit and count.

Each machine is built once (cached by content); models of many shapes run on it, as the same bitstream would.
"""

import dataclasses
from collections.abc import Callable

import pytest

from compiler.compile import compile_model
from hw.artefact import Artefact
from hw.isa import COUNTERS, CSR_INDEX, FETCH_AHEAD, Dest, Source, encode
from models.quantised import SITES, QuantisedModel
from sim.backend import Request
from sim.backends import Golden, Isa
from sim.dram import DDR3, IDEAL, DramParams
from sim.entries import Entry
from sim.errors import SimulationError
from sim.host import program_writes
from sim.interpreter import MachineError
from sim.lockstep import compare, run_lockstep
from sim.machine_grid import GRID, QUICK, ROUGH
from sim.requests import batch_step, one_token, prompt_requests
from sim.rtl_backend import Rtl
from sim.trace_compare import Recorder
from tests.models.random_model import INTEGER_MODELS, Form, integer_forms, random_model

#: Shapes chosen so that widths are no multiple of 5 x tables, groups are 1, 2 and 4, rows are few and many.
MODELS = {
    "rms": lambda: random_model(1, dim=64, hidden=96, heads=4, kv_heads=2, vocab=70, tied=False),
    "l2": lambda: random_model(
        2, norm="l2", gains=False, dim=64, hidden=160, heads=4, kv_heads=4, vocab=33, tied=False
    ),
    "plain": lambda: random_model(
        3, inner_norm=False, tied=False, dim=64, hidden=32, heads=4, kv_heads=1, layers=3
    ),
    "one head": lambda: random_model(
        4, dim=32, hidden=64, heads=1, kv_heads=1, layers=1, vocab=40, tied=False
    ),
    "relu2, sub-norms": lambda: random_model(
        7, inner_gain=True, activation="relu2", dim=64, hidden=96, kv_heads=1, layers=3, tied=False
    ),
    "sub-norms alone": lambda: random_model(
        8,
        gains=False,
        tied=False,
        inner_gain=True,
        activation="relu2",
        dim=32,
        hidden=64,
        layers=2,
        integer=integer_forms(Form(4, 16, True), "o", "down"),
        activations={"o": 12, "down": 12},
    ),
    **{name: lambda name=name: random_model(5, **INTEGER_MODELS[name]) for name in INTEGER_MODELS},
    "int8 12 bit": lambda: random_model(
        6,
        integer=integer_forms(Form(8, 32)),
        activations=dict.fromkeys(SITES, 12),
        dim=64,
        hidden=100,
        vocab=51,
    ),
}
#: Machine, model, memory; chunk and tile of the prompt, steps of a doorbell after it.
RUNS = [
    ("ci", "rms", DDR3, 1, 1, 1), ("ci", "rms", IDEAL, 32, 4, 1), ("ci", "l2", ROUGH, 5, 3, 4),
    ("ci", "plain", IDEAL, 9, 2, 1), ("ci", "one head", ROUGH, 11, 4, 12), ("ci", "plain", DDR3, 4, 4, 5),
    ("narrow", "rms", ROUGH, 4, 1, 1), ("narrow", "plain", DDR3, 1, 1, 7), ("least", "rms", DDR3, 11, 1, 3),
    ("ci", "int8", DDR3, 1, 1, 1), ("ci", "int4", ROUGH, 9, 4, 4), ("ci", "mixed", DDR3, 5, 3, 12),
    ("ci", "int8 12 bit", IDEAL, 11, 4, 1), ("narrow", "int4", DDR3, 4, 1, 5),
    ("least", "int8", IDEAL, 11, 1, 3), ("ci", "relu2, sub-norms", DDR3, 11, 4, 5),
    ("ci", "relu2, sub-norms", IDEAL, 11, 2, 1), ("ci", "sub-norms alone", ROUGH, 9, 3, 4),
]  # fmt: skip
MACHINES = {machine.name: machine for machine, _ in GRID}
PROMPT = [1, 7, 3, 29, 5, 5, 11, 0, 30, 2, 17]


def artefact_of(model: QuantisedModel, machine: str = "ci") -> Artefact:
    return compile_model(model, b"", MACHINES[machine], vectors=False)


@pytest.mark.parametrize(
    ("machine", "name", "dram", "chunk", "tile", "steps"),
    RUNS,
    ids=lambda value: "" if isinstance(value, DramParams) else str(value),
)
def test_three_backends_agree(machine: str, name: str, dram: DramParams, chunk: int, tile: int, steps: int):
    artefact = artefact_of(MODELS[name](), machine)
    layers = artefact.config["layers"]
    with Rtl(artefact, dram, seed=11) as rtl:
        backends = [Golden(artefact), Isa(artefact, seed=11), rtl]
        result = run_lockstep(backends, PROMPT, 12, layers, chunk=chunk, tile=tile, steps=steps)
        counts = rtl.counters()
    assert result.difference is None, str(result.difference)
    assert len(result.tokens) == 12
    assert len(set(result.tokens)) > 1, "a text of one token would prove little"
    account_for_every_cycle(counts)


def account_for_every_cycle(counts: dict[str, int]) -> None:
    """Every cycle is in one class of what the bus did, and in one of what the units did."""
    assert counts["cycles"] == sum(counts[n] for n in ("read_beats", "bus_full", "bus_wait", "bus_idle"))
    units = ("matmul_active", "matmul_starved", "attention_active", "attention_starved", "vector_only",
             "vector_starved", "overhead")  # fmt: skip
    assert counts["cycles"] == sum(counts[n] for n in units)
    assert set(counts) == {counter.name for counter in COUNTERS}


def test_machines_chunks_and_tiles_change_nothing():
    """Six machines with their memories, the prompt cut in several ways: the golden model's result."""
    cuts = ((11, 8), (1, 1), (4, 4), (11, 1), (11, 2), (7, 3))
    found = []
    for machine, dram in GRID[:QUICK]:
        artefact = artefact_of(MODELS["rms"](), machine.name)
        layers = range(artefact.config["layers"])
        with Rtl(artefact, dram) as rtl:
            for backend in (Golden(artefact), rtl):
                for chunk, tile in cuts if backend is rtl else cuts[1:2]:
                    tile = min(tile, machine.tile)
                    for request in prompt_requests(PROMPT, chunk=chunk, tile=tile, logits=True):
                        outcome = backend.run(request)
                    assert outcome.logits is not None
                    rows = [backend.kv(layer, row) for layer in layers for row in range(len(PROMPT))]
                    kv = [part.tobytes() for row in rows for part in (row.k, row.v, row.s_k, row.s_v)]
                    found.append((outcome.tokens, outcome.logits[-1].numpy().tobytes(), kv))
    assert len(found) == QUICK * (len(cuts) + 1)
    assert all(one == found[0] for one in found[1:])


PROMPTS = ([1, 7, 3], [1], [1, 9, 9, 4, 30], [1, 2])


def test_four_sequences_in_one_tile():
    """Each equals its solo run, on all backends; positions and places in the KV memory differ."""
    model = MODELS["rms"]()
    artefact = compile_model(model, b"", MACHINES["ci"], vectors=False, kv_rows=4 * 16)
    layers, bases = artefact.config["layers"], (48, 0, 16, 32)
    with Rtl(artefact, ROUGH, seed=3) as rtl:
        backends = [Golden(artefact), Isa(artefact, seed=3), rtl]

        def everywhere(request: Request) -> list[list[int]]:
            outcomes = [backend.run(request) for backend in backends]
            difference = compare(backends, request, outcomes, layers)
            assert difference is None, str(difference)
            return outcomes[0].tokens

        first = [
            everywhere(request)[-1]
            for prompt, base in zip(PROMPTS, bases, strict=True)
            for request in prompt_requests(prompt, chunk=8, tile=4, base=base, logits=True)
        ]
        together = list(map(list, first))
        for steps in (1, 6):
            positions = [len(p) + len(t) - 1 for p, t in zip(PROMPTS, together, strict=True)]
            request = batch_step([t[-1] for t in together], positions, bases, steps=steps, logits=True)
            for row in everywhere(request):
                for text, token in zip(together, row, strict=True):
                    text.append(token)
        solo = []
        for prompt in PROMPTS:
            found = run_lockstep([Golden(artefact), Isa(artefact)], prompt, 8, layers)
            assert found.difference is None
            solo.append(found.tokens)
    assert together == solo


def test_the_token_loop_stops_at_stop_tokens():
    """Greedy text on the fabric: a stop token ends it, and its place in the log is the last."""
    artefact = artefact_of(MODELS["rms"](), "ci")
    with Rtl(artefact, DDR3) as rtl:
        backends = [Golden(artefact), Isa(artefact), rtl]
        free = [backend.run(Request([Entry(1, 0)], steps=10)).tokens for backend in backends]
        assert free[0] == free[1] == free[2] and len(free[0]) == 10
        text = [row[0] for row in free[0]]
        stop = text[4]
        want = text[: text.index(stop) + 1]
        for backend in backends:
            found = backend.run(Request([Entry(1, 0)], steps=10, stops=[69, stop]))
            assert [row[0] for row in found.tokens] == want, backend.name


def test_a_new_sequence_on_the_same_machine():
    """State left by one text must not reach the next: the same prompt twice gives the same text."""
    artefact = artefact_of(MODELS["rms"](), "ci")
    with Rtl(artefact, DDR3) as rtl:
        texts = []
        for _ in range(2):
            token, text = 1, []
            for position in range(5):
                token = rtl.run(one_token(token, position)).tokens[0][0]
                text.append(token)
            texts.append(text)
    assert texts[0] == texts[1]


def test_saturated_squares_end_the_run_with_the_layer():
    """A grid too fine for its tensor is an error that names the layer, on interpreter and RTL alike."""
    model = MODELS["plain"]()
    grids = dict.fromkeys(SITES, -44)
    large = dataclasses.replace(model.with_grids(grids), embedding=model.embedding * 2.0**12)
    artefact = artefact_of(large, "ci")
    with pytest.raises(MachineError) as predicted:
        Isa(artefact).run(one_token(1, 0))
    assert predicted.value.code == 1
    with (
        Rtl(artefact, IDEAL) as rtl,
        pytest.raises(SimulationError, match=f"error 1 .*layer {predicted.value.layer}:"),
    ):
        rtl.run(one_token(1, 0))


def test_lockstep_names_the_first_difference():
    """The comparison can fail, and says where: one bit of one K element in the interpreter's memory."""
    artefact = artefact_of(MODELS["rms"](), "ci")
    broken = Isa(artefact)
    run = broken.run

    def sabotaged(request: Request):
        result = run(request)
        if request.entries[0].position == 2:
            strides, region = broken.map["strides"], broken.map["regions"]["key"]["start"]
            row = region + 1 * strides["key_layer"] + 2 * strides["key"]
            broken.memory[row + 8 * 2 + 5] ^= 1
        return result

    broken.run = sabotaged
    result = run_lockstep([Golden(artefact), broken], [1, 7, 3, 29], 4, artefact.config["layers"])
    found = result.difference
    assert found is not None
    assert (found.what, found.layer, found.position, found.element) == ("k", 1, 2, 5)
    assert int(found.value_a) ^ int(found.value_b) == 1 or abs(int(found.value_a) - int(found.value_b)) == 1


def test_deep_comparison_names_the_instruction(monkeypatch: pytest.MonkeyPatch):
    """Equal at every instruction; then one bit of one sum changed on one side: the MATMUL is named."""
    artefact = artefact_of(MODELS["rms"](), "ci")
    layers = artefact.config["layers"]
    for sabotaged in (False, True):
        with Rtl(artefact, ROUGH, trace=True) as rtl:
            found = run_lockstep([Golden(artefact), Isa(artefact), rtl], PROMPT, 4, layers, chunk=9, tile=3,
                                 steps=3, deep=True)  # fmt: skip
        if not sabotaged:
            assert found.difference is None, str(found.difference)
            monkeypatch.setattr(Recorder, "__call__", flip_a_bit(Recorder.__call__))
    difference = found.difference
    assert difference is not None
    assert difference.what == f"instruction {FLIPPED['index']} (MATMUL), ACC"
    assert (difference.layer, difference.position, difference.element) == (1, 4, FLIPPED["element"])
    assert int(difference.value_a, 16) ^ int(difference.value_b, 16) == 4


FLIPPED: dict[str, int] = {}


def flip_a_bit(call: Callable[..., None]) -> Callable[..., None]:
    """An observer that changes what the first MATMUL of layer 1, second tile, wrote for its second token."""

    def flipped(self, index, name, fields, layer, first, more, writes):
        if (name, layer, first) == ("MATMUL", 1, 3) and not FLIPPED:
            place = next(i for i, write in enumerate(writes) if write[1] == 1)
            memory, token, start, values = writes[place]
            values = values.copy()
            values[5] ^= 4
            writes[place] = (memory, token, start, values)
            FLIPPED.update(index=index, element=start + 5)
        call(self, index, name, fields, layer, first, more, writes)

    return flipped


def test_a_stray_write_is_seen():
    """A byte changed anywhere in one memory, even where no result depends on it, is a difference."""
    artefact = artefact_of(MODELS["rms"](), "ci")
    one, other = Isa(artefact), Isa(artefact)
    other.memory[-1] ^= 4
    found = run_lockstep([one, other], [1, 7], 2, artefact.config["layers"]).difference
    assert found is not None
    assert (found.what, found.element) == ("memory", len(other.memory) - 1)


def program(*rows: tuple[str, dict[str, int]]) -> bytes:
    return b"".join(encode(name, **fields).to_bytes(24, "little") for name, fields in rows)


LOAD = ("MAP", {"source": Source.TAPE, "dest": Dest.SCALAR, "n": 4})


def load(rtl: Rtl, code: bytes) -> None:
    rtl.session.write_all(program_writes(code))


def run_program(rtl: Rtl, *rows: tuple[str, dict[str, int]]) -> tuple[int, int]:
    """Load and run a bare program; (ERROR, cycles)."""
    load(rtl, program(*rows))
    csr = CSR_INDEX
    reply = rtl.session.run([(csr["CONTROL"], 0b110), (csr["CONTROL"], 1)], [csr["ERROR"]], 20_000)
    return reply.reads[csr["ERROR"]], reply.cycles


def test_errors_end_the_run_and_leave_a_clean_machine():
    """Unknown opcode, or bytes left at END: an interrupt with the code, then a good run."""
    artefact = artefact_of(MODELS["rms"](), "ci")
    with Rtl(artefact, DDR3) as rtl:
        for size in (16, 64, 40_000):
            fetch = ("FETCH", {"bytes": size})
            unknown = program(fetch) + (63).to_bytes(24, "little")
            load(rtl, unknown)
            csr = CSR_INDEX
            reply = rtl.session.run([(csr["CONTROL"], 0b110), (csr["CONTROL"], 1)], [csr["ERROR"]], 20_000)
            assert reply.reads[csr["ERROR"]] & 0xFF == 4
            assert run_program(rtl, fetch, ("END", {}))[0] & 0xFF == 5
            assert run_program(rtl, ("FETCH", {"bytes": 16}), LOAD, ("END", {}))[0] == 0
        load(rtl, artefact.program)
        again = Golden(artefact)
        assert rtl.run(one_token(1, 0)).tokens == again.run(one_token(1, 0)).tokens


def test_as_many_fetches_ahead_as_the_instruction_set_allows():
    """FETCH_AHEAD fetches, each larger than the tape FIFO, before their first consumer."""
    artefact = artefact_of(MODELS["rms"](), "ci")
    words = MACHINES["ci"].fifo_words * MACHINES["ci"].fifo_bytes // 4
    load = ("MAP", {"source": Source.TAPE, "n": 1024})
    with Rtl(artefact, DDR3) as rtl:
        rows = [("FETCH", {"bytes": 4 * words})] * FETCH_AHEAD + [load] * (FETCH_AHEAD * words // 1024)
        error, _ = run_program(rtl, *rows, ("END", {}))
        assert error == 0
        # A STORE of nothing finishes too.
        assert run_program(rtl, ("STORE", {"bytes": 0}), ("END", {}))[0] == 0
