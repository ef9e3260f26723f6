"""ModelConfig: what it refuses, what it derives, and its JSON form."""

import json
from typing import Any

import pytest

from models.config import ModelConfig

GOOD: dict[str, Any] = {
    "name": "small",
    "dim": 48,
    "hidden": 96,
    "layers": 2,
    "heads": 6,
    "kv_heads": 2,
    "vocab": 64,
    "context": 32,
}


@pytest.mark.parametrize(
    ("change", "field", "found"),
    [
        ({"dim": 0}, "dim", "0"),
        ({"dim": 48.0}, "dim", "48.0"),
        ({"layers": -1}, "layers", "-1"),
        ({"layers": True}, "layers", "True"),
        ({"dim": 50}, "dim", "50"),
        ({"dim": 18}, "dim / heads", "3"),
        ({"kv_heads": 4}, "kv_heads", "4"),
        ({"kv_heads": 12}, "kv_heads", "12"),
        ({"norm": "layer"}, "norm", "'layer'"),
        ({"norm_eps": 0.0}, "norm_eps", "0.0"),
        ({"final_eps": float("nan")}, "final_eps", "nan"),
        ({"rope_base": float("inf")}, "rope_base", "inf"),
        ({"activation": "gelu"}, "activation", "'gelu'"),
        ({"inner_gain": 1}, "inner_gain", "1"),
        ({"inner_gain": True, "inner_norm": False}, "inner_gain", "True"),
        ({"bos": 64}, "bos", "64"),
        ({"bos": None}, "bos", "None"),
        ({"eos": -1}, "eos", "-1"),
    ],
)
def test_refuses(change: dict[str, Any], field: str, found: str) -> None:
    with pytest.raises(ValueError, match="wanted") as error:
        ModelConfig(**GOOD | change)
    text = str(error.value)
    assert text.startswith(f"model 'small': {field}: wanted ")
    assert f"found {found}; " in text


def test_derived_sizes() -> None:
    config = ModelConfig(**GOOD)
    assert (config.head_size, config.kv_dim) == (8, 16)
    assert config.gains() == {"attention": 48, "mlp": 48}
    assert ModelConfig(**GOOD, block_gain=False, inner_gain=True).gains() == {"o": 48, "down": 96}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"eos": None, "norm": "l2", "block_gain": False, "rope_base": 1e5},
        {"inner_gain": True, "activation": "relu2"},
    ],
)
def test_json_round_trip(change: dict[str, Any]) -> None:
    config = ModelConfig(**GOOD | change)
    assert ModelConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_json_names_fields() -> None:
    with pytest.raises(ValueError, match=r"missing \['dim'\] and unknown \['width'\]"):
        ModelConfig.from_json({**{k: v for k, v in GOOD.items() if k != "dim"}, "width": 48})
