"""Fit: places do not overlap, and everything that is too large for a machine is named."""

import dataclasses

import pytest

from compiler.fit import CompileError, place
from hw.machine import CI, MACHINES, MachineConfig
from models.config import ModelConfig

from ..models.random_model import random_model


def shape(**changes: object) -> ModelConfig:
    """A model that fits `CI`, with changes."""
    values = {"name": "m", "dim": 128, "hidden": 256, "layers": 8, "heads": 8, "kv_heads": 4, "vocab": 512,
              "context": 512}  # fmt: skip
    return ModelConfig(**(values | changes))


#: Changes to model and machine, and the machine field or limit in the message.
TOO_LARGE = {
    "lanes": ({"hidden": 254}, {}, "hidden.*lanes"),
    "filled heads": ({"dim": 96}, {"max_query": 64}, "8 heads of 12.*max_query.*found 128"),
    "group": ({"kv_heads": 1}, {}, "max_group"),
    "heads": ({"dim": 256, "heads": 32, "kv_heads": 8, "context": 64}, {}, "max_heads"),
    "query": ({}, {"max_query": 64}, "max_query"),
    "context": ({"context": 513, "heads": 4}, {}, "max_context"),
    "scores": ({}, {"score_words": 2048}, "8 heads x 512 tokens.*score_words.*found 4096"),
    "stage": ({}, {"stage_bytes": 64}, "stage_bytes"),
    "partial sums": ({}, {"accumulator_rows": 256}, "up and gate.*accumulator_rows"),
    "partial sums of q, k, v": ({"hidden": 64}, {"accumulator_rows": 128}, "q, k and v.*accumulator_rows"),
    "quantised activations": ({}, {"quantised_words": 128}, "quantised_words"),
    "activations": ({}, {"activation_words": 256}, "activation_words"),
    "constants": ({}, {"constant_words": 128}, "constant_words"),
    "RoPE rows of a tile": (
        {"dim": 192},
        {"constant_words": 512, "tile": 8},
        "RoPE rows of a tile.*constant_words.*found 576",
    ),
    "statistics": (
        {"dim": 512, "heads": 64, "kv_heads": 32, "context": 64},
        {
            "max_heads": 64,
            "stage_bytes": 512,
            "quantised_words": 1024,
            "constant_words": 2048,
            "max_query": 1024,
        },
        "statistics slots",
    ),
}


@pytest.mark.parametrize("case", TOO_LARGE)
def test_what_does_not_fit_is_named(case: str):
    model, machine, message = TOO_LARGE[case]
    with pytest.raises(CompileError, match=rf"model 'm' on machine 'ci': .*{message}"):
        place(shape(**model), dataclasses.replace(CI, **machine))


def test_the_reference_shape_fits_everywhere():
    for machine in MACHINES.values():
        place(shape(), machine)


@pytest.mark.parametrize(
    "machine",
    [*MACHINES.values(), dataclasses.replace(CI, name="16", lanes=16, tile=8)],
    ids=lambda machine: machine.name,
)
@pytest.mark.parametrize(("gains", "inner"), [(False, False), (True, False), (False, True), (True, True)])
def test_places_do_not_overlap(machine: MachineConfig, gains: bool, inner: bool):
    config = random_model(gains=gains, inner_gain=inner, dim=64, hidden=96).config
    kv, places = config.kv_dim, place(config, machine)
    together = {
        "activation": [
            {"x": 64, "q": 64, "k": kv, "v": kv, "attended": 64},
            {"x": 64, "up": 96},
            {"x": 64, "h": 96},
        ],
        "accumulator": [{"q": 64, "k": kv, "v": kv}, {"up": 96, "gate": 96}],
        "quantised": [{"attention": 64, "o": 64}, {"mlp": 64, "down": 96}],
        "constant": [
            ({"attention": 64, "mlp": 64} if gains else {"final": 64})
            | ({"o": 64, "down": 96} if inner else {})
            | {"rope": 16 * machine.tile}
        ],
        "statistics": [{"attention": 1, "mlp": 1, "o": 1, "down": 1, "query": 4, "key": 2, "value": 2}],
        "scalar": [{name: machine.tile if name.startswith("s_") else 1 for name in places.scalar}],
    }
    for memory, groups in together.items():
        found = getattr(places, memory)
        step = {"quantised": 16, "statistics": 1, "scalar": 1}.get(memory, machine.lanes)
        for group in groups:
            taken = [i for name, size in group.items() for i in range(found[name], found[name] + size)]
            assert len(taken) == len(set(taken)), (memory, group)
            assert all(found[name] % step == 0 for name in group)
    groups = (places.fixed_scalars, places.layer_scalars, places.again_scalars)
    assert [len(group) % machine.lanes for group in groups] == [0, 0, 0]
    assert places.layer_scalars[-len(places.again_scalars) :] == places.again_scalars
    assert {"k_q", "k_k", "k_v"} <= set(places.again_scalars)


def test_one_activation_buffer_where_two_do_not_fit():
    config = shape(dim=128, hidden=512)
    assert set(place(config, CI).quantised.values()) == {0}
    assert set(place(shape(), CI).quantised.values()) == {0, 128}
