"""`bench.perplexity`: the measure itself, and one row of its table on a small model."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.perplexity import Subject, encoded, measure, perplexity
from models.float_model import FloatModel
from models.integer_quantise import Recipe
from models.llama2c import load_llama2c
from models.tokenizer import Tokenizer
from tests.compiler.frontends.test_llama2c import legacy_bytes
from tests.models.random_model import random_model

STORIES = [[1, 7, 40, 3, 9], [1, 30, 2]]


def test_of_known_logits():
    assert perplexity(lambda ids: torch.zeros(len(ids), 50), STORIES) == pytest.approx(50)
    other = {1: 7, 7: 40, 40: 3, 3: 9, 30: 2}

    def forward(ids: list[int]) -> torch.Tensor:
        logits = torch.full((len(ids), 50), -torch.inf)
        for at, token in enumerate(ids):
            logits[at, other[token]] = 0.0
            logits[at, 30] = 0.0 if token == 1 else -torch.inf
        return logits

    assert perplexity(forward, STORIES) == pytest.approx(
        2 ** (2 / 6)
    )  # 1 is followed by 7 or 30, all else is sure


def test_stories_are_cut_at_the_context(root: Path):
    tokenizer = Tokenizer.from_json(root / "models" / "shipped" / "tokenizer.json")
    found = encoded(["One day, a dog ran.", "", "x"], tokenizer, 3)
    assert [len(story) for story in found] == [4, 2]
    assert {story[0] for story in found} == {tokenizer.bos}


def test_rows(tmp_path: Path):
    config = replace(random_model(tied=False).config, inner_norm=False)
    torch.manual_seed(1)
    path = tmp_path / "small.bin"
    path.write_bytes(legacy_bytes(FloatModel(config, "fixed", None)))
    subject = Subject(path, load_llama2c(path), STORIES, (Recipe(8, 8), Recipe(4, 4, 16)))
    rows = list(measure(subject, progress=False))
    assert [(r.weights, r.head, r.activations, r.tokens) for r in rows] == [
        ("int8", "int8", 8, 6),
        ("int8", "int8", 12, 6),
        ("int4 g16", "int4 g16", 8, 6),
        ("int4 g16", "int4 g16", 12, 6),
    ]
    for row in rows:
        assert row.ratio == row.golden / row.reference
        assert row.ratio == pytest.approx(1, abs=0.01 if row.weights == "int8" else 0.1)
    assert len({row.golden for row in rows}) == 4
