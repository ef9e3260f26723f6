"""The golden model: the same however tokens are cut, close to float, right on a checkpoint of others."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from compiler.frontends import load_checkpoint
from models import numerics
from models.float_reference import float_reference
from models.golden import GoldenModel, KVCache, SaturationError
from models.quantised import SITES, QuantisedModel
from models.stories import split_stories
from models.tokenizer import Tokenizer

from .random_model import INTEGER_MODELS, random_model

FORMS = {
    "rms": {},
    "ak42": {"norm": "l2", "gains": False},
    "plain inputs, one KV head, own head": {"inner_norm": False, "kv_heads": 1, "tied": False},
    "squared ReLU, sub-norms": {"inner_gain": True, "activation": "relu2", "tied": False},
    "int4, 12-bit activations": INTEGER_MODELS["int4"],
    "ternary, int8 and int4": INTEGER_MODELS["mixed"],
    "every head its own KV": {"kv_heads": 4, "dim": 40, "hidden": 37, "context": 72},
}
#: Greedy float reference of bit_model_1M from BOS, computed elsewhere in NumPy (FACTS.md).
BIT_MODEL_1M = [1, 403, 407, 261, 378, 432, 383, 286, 261, 376, 298, 315]
BIT_MODEL_1M += [421, 395, 317, 426, 338, 401, 396, 267, 337, 335, 311, 267]


@pytest.fixture(params=FORMS.values(), ids=FORMS.keys())
def model(request: pytest.FixtureRequest) -> QuantisedModel:
    return random_model(7, **request.param)


def some_tokens(model: QuantisedModel, count: int | None = None, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(model.config.vocab, (count or model.config.context,), generator=generator).tolist()


def assert_same_cache(a: KVCache, b: KVCache) -> None:
    assert a.length == b.length
    for name in ("k", "v", "s_k", "s_v"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name


# --- order-free arithmetic --------------------------------------------------------------------------------


@pytest.mark.parametrize("cuts", [[1] * 100, [5, 1, 9, 2, 100], [66, 100]])
def test_chunks_equal_the_whole(model: QuantisedModel, cuts: list[int]):
    golden, tokens = GoldenModel(model), some_tokens(model)
    whole_cache, cache = KVCache.empty(model.config), KVCache.empty(model.config)
    whole = golden.forward(tokens, whole_cache)
    parts, at = [], 0
    for cut in cuts:
        if part := tokens[at : at + cut]:
            parts.append(golden.forward(part, cache))
        at += cut
    assert torch.equal(torch.cat(parts), whole)
    assert_same_cache(cache, whole_cache)


def test_sequences_do_not_meet(model: QuantisedModel):
    golden, count = GoldenModel(model), 6
    streams = [some_tokens(model, count, seed) for seed in range(2)]
    alone = [golden.forward(stream) for stream in streams]
    caches = [KVCache.empty(model.config) for _ in streams]
    for at in range(count):
        for index in (1, 0):
            found = golden.forward(streams[index][at : at + 1], caches[index])
            assert torch.equal(found[0], alone[index][at])


def test_later_tokens_change_nothing_before_them(model: QuantisedModel):
    golden, tokens = GoldenModel(model), some_tokens(model, 12)
    other = tokens[:8] + [(token + 1) % model.config.vocab for token in tokens[8:]]
    a, b = golden.forward(tokens), golden.forward(other)
    assert torch.equal(a[:8], b[:8])
    assert not torch.equal(a[8:], b[8:])


def test_every_logit_depends_on_every_earlier_token(model: QuantisedModel):
    golden, tokens = GoldenModel(model), some_tokens(model, 5)
    last = golden.forward(tokens)[-1]
    for at in range(5):
        changed = [(token + (index == at)) % model.config.vocab for index, token in enumerate(tokens)]
        assert not torch.equal(golden.forward(changed)[-1], last)


def test_generate_feeds_back_its_choice(model: QuantisedModel):
    golden, prompt = GoldenModel(model), some_tokens(model, 3)
    steps = list(golden.generate(prompt, 8))
    tokens = prompt + [token for token, _ in steps]
    logits = golden.forward(tokens[:-1])[2:]
    assert torch.equal(torch.stack([row for _, row in steps]), logits)
    assert [numerics.argmax(row) for row in logits] == tokens[3:]


# --- against float ----------------------------------------------------------------------------------------


def test_near_the_float_model(model: QuantisedModel):
    """Within the noise of int8: codes that round the other way cost some percent of the logits' spread."""
    tokens = some_tokens(model)
    wanted = float_reference(model)(torch.tensor([tokens]))[0].detach()
    error = (GoldenModel(model).forward(tokens) - wanted).square().mean().sqrt() / wanted.std()
    assert error < 0.1


def test_grids_are_no_part_of_the_result_in_a_wide_range(model: QuantisedModel):
    tokens = some_tokens(model, 8)
    a, b = (GoldenModel(model.with_grids(dict.fromkeys(SITES, grid))).forward(tokens) for grid in (-44, -36))
    assert torch.allclose(a, b, rtol=1e-3, atol=1e-3)


# --- errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("site", SITES)
def test_saturation_names_the_place(site: str):
    model = random_model(3)
    golden = GoldenModel(model.with_grids(model.grids | {site: -80}))
    with pytest.raises(
        SaturationError, match=f"layer {2 if site == 'final' else 0}, input of {site}"
    ) as caught:
        golden.forward([1])
    assert caught.value.site == site


@pytest.mark.parametrize("tokens", [[], [50], [-1], [0] * 33])
def test_wrong_tokens(tokens: list[int]):
    with pytest.raises(ValueError, match=r"wanted .*, found"):
        GoldenModel(random_model()).forward(tokens)


def test_context_is_counted_with_the_cache():
    model = random_model()
    golden, cache = GoldenModel(model), KVCache.empty(model.config)
    golden.forward([1] * 30, cache)
    with pytest.raises(ValueError, match="wanted 1 to 2 tokens"):
        golden.forward([1] * 3, cache)
    golden.forward([1] * 2, cache)


# --- the value of zero ------------------------------------------------------------------------------------


def test_all_zero_embedding_gives_zero_logits():
    model = random_model(inner_norm=False)
    logits = GoldenModel(replace(model, embedding=torch.zeros_like(model.embedding))).forward([1, 2, 3])
    assert torch.equal(logits, torch.zeros_like(logits))


# --- a real checkpoint ------------------------------------------------------------------------------------


@pytest.mark.shared
def test_greedy_tokens_of_a_real_checkpoint(shared):
    golden = GoldenModel(load_checkpoint(shared / "checkpoints" / "bit_model_1M.bin"))
    found = [token for token, _ in golden.generate(BIT_MODEL_1M[:1], len(BIT_MODEL_1M) - 1)]
    assert found == BIT_MODEL_1M[1:]


@pytest.mark.shared
def test_perplexity_of_a_real_checkpoint(shared):
    model = load_checkpoint(shared / "checkpoints" / "bit_model_1M.bin")
    tokenizer = Tokenizer.from_llama2c(shared / "checkpoints" / "tok512.bin", model.config.vocab)
    text = (shared / "text" / "tinystories_dev.txt").read_text(encoding="utf-8")
    golden, reference = GoldenModel(model), float_reference(model)
    ours = theirs = count = 0.0
    for story, *_ in split_stories(text)[:3]:
        tokens = [model.config.bos, *tokenizer.encode(story)][:129]
        targets = torch.tensor(tokens[1:])
        ours += float(functional.cross_entropy(golden.forward(tokens[:-1]), targets, reduction="sum"))
        logits = reference(torch.tensor([tokens[:-1]]))[0].detach()
        theirs += float(functional.cross_entropy(logits, targets, reduction="sum"))
        count += len(targets)
    assert theirs / count < 1.6  # the model speaks this language
    assert math.exp((ours - theirs) / count) == pytest.approx(1, abs=0.01)
