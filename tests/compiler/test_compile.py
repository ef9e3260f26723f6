"""From a model to an artefact: layout byte for byte, schedule, memory map, reproducibility."""

import dataclasses
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from compiler.check import check
from compiler.compile import compile_model, compile_program
from compiler.fit import CompileError, place
from compiler.graph import attach_statistics, build, fuse
from compiler.hazards import accesses, conflict
from compiler.lower import PARTS, Step, lower
from compiler.memory_map import REGION_ALIGN, map_memory
from compiler.schedule import schedule
from compiler.tape import chunked
from hw.artefact import Artefact
from hw.isa import EMIT_LOGITS, MANY_TILES, WANT_HEAD
from hw.machine import CI, MACHINES
from models import numerics
from models.quantised import QuantisedModel

from ..models.random_model import random_model


def parts_of(model: QuantisedModel) -> dict[str, list[Step]]:
    graph = fuse(attach_statistics(build(model.config), True))
    return lower(check(graph, statistics=True), place(model.config, CI), model.grids)


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES.keys())
def test_a_matrix_on_the_tape(machine):
    """Read a chunked matrix back by the words of the ISA: chunk by chunk, in a chunk row by row."""
    rows, k = 6, 77
    codes = torch.randint(-1, 2, (rows, k), generator=torch.Generator().manual_seed(1))
    tape = chunked(numerics.pack_trits(codes).to(torch.uint8).numpy(), machine.tables).tolist()
    columns, found = -(-k // 5), [[] for _ in range(rows)]
    while columns:
        width = min(machine.tables, columns)
        for row in found:
            row += [tape.pop(0) for _ in range(width)]
        columns -= width
    assert not tape
    assert torch.equal(numerics.unpack_trits(torch.tensor(found), k), codes.to(torch.int64))


def test_head_rows_on_the_tape():
    model = random_model(1)
    compiled = compile_program(model, CI)
    region, c = compiled.memory.regions["tape_epilogue"], model.config
    pair = 2 * (c.dim + 4)
    data = compiled.image[region.start :][: c.vocab // 2 * pair].reshape(-1, pair)
    codes = data[:, : 2 * c.dim].view(np.int8).reshape(-1, c.dim, 2).swapaxes(1, 2).reshape(c.vocab, c.dim)
    assert np.array_equal(codes, model.head.codes.numpy())
    scales = data[:, 2 * c.dim :].copy().view(np.float32).reshape(-1)
    assert np.array_equal(scales, model.head.row_scale.numpy())


def test_embedding_and_rope_in_the_image():
    model = random_model(1)
    compiled, c = compile_program(model, CI), model.config
    at = compiled.memory.regions["embedding"].start
    found = compiled.image[at : at + 4 * c.vocab * c.dim].view(np.float32).reshape(c.vocab, c.dim)
    assert np.array_equal(found, model.embedding.numpy())
    at = compiled.memory.regions["rope"].start
    found = compiled.image[at : at + 4 * c.context * c.head_size].view(np.float32)
    assert np.array_equal(found, numerics.rope_table(c.context, c.head_size, c.rope_base).reshape(-1).numpy())


def test_every_byte_of_a_layer_is_weights_or_constants():
    """Nothing lies there twice or is left out: image bytes of the layers follow from the shapes.

    The constants that a layer begins with are there again, for chunks of several tiles.
    """
    model = random_model(1)
    c = model.config
    compiled = compile_program(model, CI)
    weights = 2 * c.dim * -(-c.dim // 5) + 2 * c.kv_dim * -(-c.dim // 5)
    weights += 2 * c.hidden * -(-c.dim // 5) + c.dim * -(-c.hidden // 5)
    constants = 4 * (8 + 2 * c.dim) + 4 * (4 + c.dim)
    assert 0 <= compiled.memory.strides["layer"] - weights - constants < 3 * REGION_ALIGN


def test_regions_are_aligned_and_apart():
    memory = map_memory(random_model().config, CI, 64, 640, 128)
    end = 0
    for region in memory.regions.values():
        assert region.start % REGION_ALIGN == 0
        assert region.start >= end
        end = region.start + region.size
    assert end <= memory.total_bytes
    assert memory.image_bytes == memory.regions["key"].start


def test_rows_of_kv_memory():
    config = random_model().config
    least, more = (map_memory(config, CI, 64, 640, 128, rows) for rows in (None, 100))
    assert least == map_memory(config, CI, 64, 640, 128, config.context)
    assert (least.kv_rows, more.kv_rows) == (config.context, 100)
    for half in ("key", "value"):
        assert more.strides[half] == least.strides[half]
        assert more.strides[f"{half}_layer"] >= 100 * more.strides[half]
        assert more.regions[half].size == config.layers * more.strides[f"{half}_layer"]
    assert more.to_json()["kv_rows"] == 100
    for wrong in (config.context - 1, 2**20 + 1):
        with pytest.raises(CompileError, match=rf"32 \(a context\) to 1048576 rows.*found {wrong}"):
            map_memory(config, CI, 64, 640, 128, wrong)


def test_room_for_a_chunk():
    config, machine = random_model(dim=40, heads=5, kv_heads=5).config, MACHINES["wide"]
    memory = map_memory(config, machine, 64, 640, 128)
    assert memory.strides["spill"] == 4 * 40
    assert memory.regions["spill"].size == machine.max_chunk * 160
    assert memory.regions["logits"].size == machine.tile * 4 * config.vocab


def test_memory_beyond_32_bits_is_refused():
    config = dataclasses.replace(random_model().config, context=2**20)
    with pytest.raises(CompileError, match="32-bit addresses"):
        map_memory(config, CI, 64, 2**31, 64)


def test_schedule_keeps_dependences():
    """Any order in, the same steps out, conflicting ones and tape consumers in their order."""
    for part, steps in parts_of(random_model()).items():
        for tile in (1, 4):
            done = schedule(steps, CI, 512, tile)
            assert sorted(map(id, done)) == sorted(map(id, steps)), part
            order = {id(step): i for i, step in enumerate(done)}
            for i, later in enumerate(steps):
                for earlier in steps[:i]:
                    both = earlier.content and later.content
                    touched = [accesses(step.name, step.fields, CI.tile) for step in (earlier, later)]
                    if both or conflict(*touched):
                        assert order[id(earlier)] < order[id(later)]


def test_predicated_steps_stay_outside():
    done = schedule(parts_of(random_model())["body"], CI, 512)
    assert [step.fields["predicate"] for step in done] == [*[0] * (len(done) - 1), MANY_TILES]
    with pytest.raises(AssertionError, match="predicate"):
        schedule([done[0], done[-1], done[1]], CI, 512)


def test_schedule_queues_matmuls_early():
    names = [
        (s.name, s.content and s.content.name) for s in schedule(parts_of(random_model())["body"], CI, 512)
    ]
    assert [name for name, _ in names[:2]] == ["QUANTISE", "NORM"]
    assert names[2:5] == [("MATMUL", "q"), ("MATMUL", "k"), ("MATMUL", "v")]
    both = names.index(("MATMUL", "up"))
    assert names[both + 1] == ("MATMUL", "gate")


def test_parts_are_complete():
    parts = parts_of(random_model())
    taken = [step.content for part in PARTS for step in parts[part] if step.content]
    matrices = sorted(content.name for content in taken if content.kind == "matrix")
    assert matrices == sorted(["q", "k", "v", "o", "up", "gate", "down"])
    assert [content.kind for content in taken].count("head") == 1


def test_without_head_its_part_does_nothing():
    steps = parts_of(random_model(gains=False))["epilogue"]
    assert {step.fields["predicate"] for step in steps} == {WANT_HEAD, EMIT_LOGITS}
    assert [step.name for step in steps if step.fields["predicate"] == EMIT_LOGITS] == ["STORE"]


def test_too_many_instructions():
    machine = dataclasses.replace(CI, program_words=20)
    with pytest.raises(CompileError, match=r"at most 20 instructions \(program_words\)"):
        compile_program(random_model(), machine)


def test_artefact_round_trip(tmp_path: Path):
    model = random_model(2)
    made = compile_model(model, b"tokenizer", CI)
    made.write(tmp_path / "m.trine")
    found = Artefact.read(tmp_path / "m.trine", CI)
    assert found == made
    assert found.vectors is not None
    assert len(found.vectors["tokens"]) == 8
    assert found.tokenizer == b"tokenizer"
    again = QuantisedModel.load(found.model)
    assert compile_program(again, CI).image.tobytes() == found.image
    assert compile_program(again, CI).program == found.program
    assert compile_model(model, b"", CI, vectors=False).vectors is None


def test_vectors_fit_a_short_context():
    vectors = compile_model(random_model(2, context=4), b"", CI).vectors
    assert vectors is not None
    assert vectors["kv_tokens"] <= 4


def test_program_does_not_grow_with_depth():
    sizes = {len(compile_program(random_model(layers=n), CI).program) for n in (1, 2, 9)}
    assert len(sizes) == 1


def test_packing_is_reproducible():
    rng = random.Random(1)
    model = random_model(rng.randrange(100))
    assert compile_program(model, CI).image.tobytes() == compile_program(model, CI).image.tobytes()
