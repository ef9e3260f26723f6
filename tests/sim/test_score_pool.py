"""Scores that the tokens of an attention core share: refused, said, and avoided by a smaller tile."""

import dataclasses

import pytest

from compiler.compile import compile_model
from hw.machine import CI, KV260
from sim.backend import Request
from sim.backends import Golden, Isa
from sim.entries import Entry
from sim.lockstep import run_lockstep
from sim.requests import batch_step, continued, prompt_requests
from tests.models.random_model import random_model

#: 4 heads: 16 rows for all four tokens of a tile together, or 64 for one.
POOL = dataclasses.replace(CI, score_words=256, score_pool=256, attention_cores=1, max_context=64)


@pytest.mark.parametrize(("rows", "tokens"), [(1, 4), (16, 4), (17, 3), (21, 3), (22, 2), (33, 1), (64, 1)])
def test_tile_at(rows: int, tokens: int) -> None:
    assert POOL.tile_at(4, rows) == tokens


def test_kv260_has_its_whole_tile_to_the_end_of_its_context() -> None:
    assert KV260.tile_at(16, 1023) == 4 == KV260.tile


def test_cores_of_their_own_have_their_own() -> None:
    assert CI.tile_at(16, CI.score_words // 16) == CI.tile


@pytest.fixture(scope="module")
def artefact():
    return compile_model(random_model(5, context=64), b"", POOL, vectors=False, kv_rows=128)


@pytest.mark.parametrize("backend", [Golden, Isa])
@pytest.mark.parametrize(
    "request_",
    [Request(continued(range(1, 9), position=40), tile=4), batch_step([1, 2, 3], [30, 30, 30], [0, 40, 80])],
    ids=["prompt", "batch"],
)
def test_what_does_not_fit_is_refused_with_the_remedy(artefact, backend, request_) -> None:
    with pytest.raises(ValueError, match="a smaller tile holds their scores"):
        backend(artefact).run(request_)


def test_prompt_goes_in_smaller_tiles(artefact) -> None:
    heads = int(artefact.config["heads"])
    requests = list(
        prompt_requests(range(1, 41), chunk=8, tile=4, most=lambda rows: POOL.tile_at(heads, rows))
    )
    assert [request.tile for request in requests] == [4, 4, 2, 2, 1]
    prompt = [1 + i * 5 % 40 for i in range(40)]
    found = run_lockstep(
        [Golden(artefact), Isa(artefact)], prompt, 3, artefact.config["layers"], chunk=8, tile=4,
        most=lambda rows: POOL.tile_at(heads, rows),
    )  # fmt: skip
    assert found.difference is None and len(found.tokens) == 3


def test_one_token_may_see_all(artefact) -> None:
    assert Isa(artefact).run(Request([Entry(1, 0)])).tokens
