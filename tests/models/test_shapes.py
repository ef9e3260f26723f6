"""Shapes: sizes as published, tensors that depend on seed and name alone, moderate activations, a seed that
is checked against its hash, and golden model and interpreter that agree on what was drawn."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from bench.shapes import ROOMY, roomy
from compiler.compile import compile_model
from compiler.fit import CompileError
from compiler.memory_map import map_memory
from hw.machine import CI, MachineConfig
from models import draw, seeded
from models.config import MATRICES, SITES, matrix_shapes
from models.draw import Draw
from models.errors import CheckpointError
from models.golden import GoldenModel
from models.integer import IntegerLinear
from models.layer import Linear, QuantisedLayer
from models.quantised import QuantisedModel
from models.seeded import SeededModel
from models.shapes import SHAPES, Shape, numbered_tokenizer
from sim.backend import Request
from sim.backends import Golden, Isa
from sim.entries import Entry
from trine.compile import calibrate_shape

TERNARY = Shape(
    "small-ternary", dim=64, hidden=96, layers=3, heads=4, kv_heads=4, vocab=300, context=48,
    inner_norm=True, tied_head=True,
)  # fmt: skip
INT4 = Shape("small-int4", dim=64, hidden=96, layers=3, heads=4, kv_heads=2, vocab=300, context=48, group=32)
SUB_NORMS = dataclasses.replace(TERNARY, name="small-sub-norms", inner_gain=True, activation="relu2")
SMALL = {shape.name: shape for shape in (TERNARY, INT4, SUB_NORMS)}
#: SHA-256 of the weights of the small shapes, seed 7: what artefacts of earlier versions hold.
DIGESTS = {
    "small-ternary": "766fcceb8e5003944a2df74d8094294bbf9e09340f23c78261fc6070873f79a6",
    "small-int4": "85007273e153a77136cc892befa911c0777f913c619b2d1ce8b6af6142437be0",
    "small-sub-norms": "fe34a2ecf38ea1d0cea28c63930ba09024660bcbc4776078cfd6c354eba5a1c2",
}


@pytest.fixture(params=SMALL.values(), ids=list(SMALL))
def shape(request: pytest.FixtureRequest) -> Shape:
    return request.param


# --- sizes ------------------------------------------------------------------------------------------------


def weights(shape: Shape) -> int:
    """Weights of all matrices in the layers, by the published definition of a Llama's layer."""
    d, kv = shape.dim, shape.dim // shape.heads * shape.kv_heads
    return shape.layers * (2 * d * d + 2 * d * kv + 3 * d * shape.hidden)


@pytest.mark.parametrize(
    ("name", "layers", "total"),
    [
        ("bitnet-0.73b", 679_477_248, 0.73e9),
        ("llama-2-7b", 6_476_005_376, 6.74e9),
        ("llama-3-8b", 6_979_321_856, 8.03e9),
        ("bitnet-2b-4t", 2_084_044_800, 2.41e9),
    ],
)
def test_published_sizes(name: str, layers: int, total: float):
    shape = SHAPES[name]
    tables = (1 if shape.tied_head else 2) * shape.vocab * shape.dim
    assert weights(shape) == layers
    assert layers + tables == pytest.approx(total, rel=0.005)
    config = shape.config()
    assert config.layers * sum(r * k for r, k in matrix_shapes(config).values()) == layers


def test_what_cannot_be_expressed_is_named():
    shape = dataclasses.replace(TERNARY, missing=("a warm hand", "two eyes"))
    wanted = r"small-ternary.*a warm hand and two eyes; choose another shape: bitnet-0.73b, bitnet-2b-4t"
    with pytest.raises(CheckpointError, match=wanted):
        SeededModel(shape, 0)


def test_bitnet_2b_4t():
    """Sizes and semantics of its configuration file (microsoft/bitnet-b1.58-2B-4T)."""
    c = SHAPES["bitnet-2b-4t"].config()
    assert (c.dim, c.hidden, c.layers, c.heads, c.kv_heads, c.head_size) == (2560, 6912, 30, 20, 5, 128)
    assert (c.vocab, c.rope_base, c.activation, c.tied_head) == (128256, 500000.0, "relu2", True)
    assert c.gains() == {"attention": 2560, "mlp": 2560, "o": 2560, "down": 6912}


@pytest.mark.parametrize("layers", [0, -1, 4])
def test_layers_that_there_are_not(layers: int):
    with pytest.raises(CheckpointError, match=f"1 to 3 layers, found {layers}"):
        SeededModel(TERNARY, 0, layers)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_seeds(seed: int):
    with pytest.raises(CheckpointError, match="a seed of 0"):
        SeededModel(TERNARY, seed)


# --- what is drawn ----------------------------------------------------------------------------------------


def layer_tensors(layer: QuantisedLayer) -> dict[str, torch.Tensor]:
    found = {f"{site}_gain": gain for site, gain in layer.gains()}
    for name, matrix in layer.matrices():
        found |= {f"{name}.{key}": value for key, value in matrix.tensors().items()}
    return found


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    assert a.keys() == b.keys()
    return all(torch.equal(a[name], b[name]) for name in a)


def test_a_layer_is_the_same_however_many_there_are(shape: Shape):
    whole, one, two = (SeededModel(shape, 7, layers) for layers in (3, 1, 2))
    assert [len(model.layers) for model in (whole, one, two)] == [3, 1, 2]
    found = [layer_tensors(layer) for layer in whole.layers]
    assert same(layer_tensors(one.layers[0]), found[0])
    assert same(layer_tensors(two.layers[1]), found[1])
    for name in ("embedding", "final_gain"):
        assert torch.equal(getattr(one, name), getattr(whole, name))
    assert torch.equal(one.head.codes, whole.head.codes)
    assert whole.config.name == shape.name
    assert one.config.name == f"{shape.name} (1 of 3 layers)"


def test_every_tensor_differs(shape: Shape):
    """From that of another seed, another layer, and the others of its layer."""
    model, other = SeededModel(shape, 7), SeededModel(shape, 8)
    first, second = layer_tensors(model.layers[0]), layer_tensors(model.layers[1])
    for name, tensor in layer_tensors(other.layers[0]).items():
        assert not torch.equal(tensor, first[name]), name
        assert not torch.equal(second[name], first[name]), name
    assert not torch.equal(first["q.codes"], first["o.codes"])
    assert not torch.equal(model.embedding, other.embedding)
    assert model.some_tokens(20) != other.some_tokens(20)


@pytest.mark.parametrize("block", [2**12, 2**13])
def test_blocks_change_no_result(block: int, shape: Shape, monkeypatch: pytest.MonkeyPatch):
    whole = SeededModel(shape, 7).digest()
    monkeypatch.setattr(draw, "_BLOCK", block)
    assert SeededModel(shape, 7).digest() == whole


def test_the_draw_never_changes(shape: Shape):
    assert SeededModel(shape, 7).digest() == DIGESTS[shape.name]


def test_trits_are_uniform():
    codes = SeededModel(SHAPES["bitnet-0.73b"], 1, 1).layers[0].q.codes
    n = codes.numel()
    assert codes.shape == (1536, 1536)
    for trit in (-1, 0, 1):
        assert abs(int((codes == trit).sum()) - n / 3) < 5 * (n * 2 / 9) ** 0.5
    flat = codes.flatten().double()
    for step in (1, 2, 3, 4, 5, 1536):  # neighbours, within a byte and across, and rows
        assert abs(float((flat[step:] * flat[:-step]).sum())) < 5 * (n * 4 / 9) ** 0.5


def materialised(model: QuantisedModel) -> QuantisedModel:
    """The same as a plain model, whose own checks then apply."""
    layers = tuple(
        QuantisedLayer(
            layer.attention_gain,
            layer.mlp_gain,
            **dict(layer.matrices()),
            o_gain=layer.o_gain,
            down_gain=layer.down_gain,
        )
        for layer in model.layers
    )
    parts = (model.config, model.embedding, layers, model.final_gain, model.head)
    return QuantisedModel(*parts, model.grids, model.activations)


def test_a_plain_model_of_the_same_weights_computes_the_same(shape: Shape):
    model = calibrate_shape(SeededModel(shape, 7, 2))
    plain = materialised(model).check()
    assert all(plain.form(name) == model.form(name) for name in (*MATRICES, "head"))
    assert isinstance(plain.layers[0].q, IntegerLinear if shape.group else Linear)
    tokens = list(range(20))
    assert torch.equal(GoldenModel(plain).forward(tokens), GoldenModel(model).forward(tokens))


@pytest.mark.parametrize("group", [0, 32])
def test_activations_stay_moderate(group: int):
    """Over 24 layers: no saturation on the default grids, sizes within bounds, tokens that differ."""
    shape = dataclasses.replace(
        SHAPES["bitnet-0.73b"], dim=192, hidden=512, heads=4, kv_heads=4, vocab=400, group=group
    )
    size: dict[str, list[float]] = {site: [] for site in SITES}

    def observe(site: str, _: int, x: torch.Tensor) -> None:
        size[site].append(float(x.double().square().mean().sqrt()))

    model = SeededModel(shape, 3)
    logits = GoldenModel(model, observe).forward(model.some_tokens(32))
    assert [len(found) for found in size.values()] == [24, 24, 24, 24, 1]
    assert all(0.02 < one < 20 for found in size.values() for one in found), size
    assert 0.2 < float(logits.std()) < 5
    following = logits.argmax(-1).tolist()
    assert len(set(following)) >= 8, "the next token depends on what came before"
    assert following != model.some_tokens(32)


# --- the seed in a file -----------------------------------------------------------------------------------


def test_saved_and_loaded(shape: Shape):
    model = calibrate_shape(SeededModel(shape, 7, 2))
    data = model.save()
    again = QuantisedModel.load(data)
    assert isinstance(again, SeededModel)
    assert len(data) < 1000
    assert again.save() == data == model.save()
    assert (again.config, again.grids, again.seed) == (model.config, model.grids, 7)
    assert again.check() is again
    assert torch.equal(GoldenModel(again).forward([1, 2]), GoldenModel(model).forward([1, 2]))


def test_a_file_of_an_earlier_version():
    """Shapes had neither squared ReLU nor gains of sub-norms."""
    model = SeededModel(TERNARY, 7, 2)
    content = json.loads(model.save())
    assert (content["shape"].pop("inner_gain"), content["shape"].pop("activation")) == (False, "silu")
    again = QuantisedModel.load(json.dumps(content).encode())
    assert again.check().config == model.config


def test_weights_are_compared_with_their_hash(shape: Shape, monkeypatch: pytest.MonkeyPatch):
    """Golden refuses what is drawn otherwise than when it was saved, whatever the tensor."""
    data = SeededModel(shape, 11, 1).save()
    for broken in ("trits" if not shape.group else "int4", "gain", "rows"):
        real = getattr(Draw, broken)

        def other(self: Any, name: str, *more: Any, real: Callable = real) -> Any:
            return real(self, f"{name}?", *more)

        with monkeypatch.context() as patch:
            patch.setattr(Draw, broken, other)
            with pytest.raises(CheckpointError, match="weights of seed 11: wanted SHA-256"):
                GoldenModel(QuantisedModel.load(data))
    GoldenModel(QuantisedModel.load(data))


JUNK: dict[str, Callable[[dict[str, Any]], object]] = {
    "other format": lambda c: c.update(format="trine-seeded-9"),
    "no seed": lambda c: c.pop("seed"),
    "seed a text": lambda c: c.update(seed="7"),
    "layers a text": lambda c: c.update(layers="2"),
    "too many layers": lambda c: c.update(layers=4),
    "endless layers": lambda c: (c["shape"].update(layers=2**40), c.update(layers=2**40)),
    "a grid missing": lambda c: c["grids"].pop("o"),
    "a huge grid": lambda c: c["grids"].update(o=1000),
    "grids a list": lambda c: c.update(grids=[1]),
    "hash a number": lambda c: c.update(sha256=3),
    "shape a list": lambda c: c.update(shape=[]),
    "shape with more": lambda c: c["shape"].update(speed=1),
    "shape of text": lambda c: c["shape"].update(dim="64"),
    "group negative": lambda c: c["shape"].update(group=-1),
    "missing a number": lambda c: c["shape"].update(missing=3),
}


@pytest.mark.parametrize("case", JUNK)
def test_damaged_seeds(case: str):
    content = json.loads(SeededModel(TERNARY, 7, 2).save())
    JUNK[case](content)
    with pytest.raises(ValueError, match=r"(seeded|quantised) model"):
        QuantisedModel.load(json.dumps(content).encode())
    with pytest.raises(ValueError, match="seeded model"):
        QuantisedModel.load(
            json.dumps(content).encode()[:-4] if "other" not in case else seeded.SEEDED_PREFIX
        )


# --- tokenizer --------------------------------------------------------------------------------------------


def test_tokens_read_as_their_numbers():
    tokenizer = numbered_tokenizer(TERNARY.config())
    assert (tokenizer.vocab_size, tokenizer.bos, tokenizer.eos) == (300, 1, 2)
    assert tokenizer.decode(tokenizer.encode("Once, äö\n")) == "Once, äö\n"
    assert tokenizer.decode([299, 260]) == " #299 #260"
    with pytest.raises(ValueError, match="wanted 259 or more"):
        numbered_tokenizer(dataclasses.replace(TERNARY, vocab=258).config())


# --- compiled ---------------------------------------------------------------------------------------------


def assert_backends_agree(model: SeededModel, machine: MachineConfig, tokens: int) -> None:
    tokenizer = numbered_tokenizer(model.config)
    artefact = compile_model(calibrate_shape(model), tokenizer.to_bytes(), machine, vectors=False)
    golden, isa = Golden(artefact), Isa(artefact)
    token = model.config.bos
    for position in range(tokens):
        request = Request([Entry(token, position)], logits=True)
        wanted, found = golden.run(request), isa.run(request)
        assert wanted.tokens == found.tokens
        assert wanted.logits is not None and found.logits is not None
        assert torch.equal(wanted.logits, found.logits)
        token = found.tokens[0][0]


def test_golden_and_interpreter_agree(shape: Shape):
    assert_backends_agree(SeededModel(shape, 5, 2), CI, 4)


@pytest.mark.parametrize("name", SHAPES)
def test_real_widths(name: str):
    """One layer of real width (the MLP of all but one is cut for time), fewer tokens in the vocabulary."""
    shape = dataclasses.replace(SHAPES[name], vocab=512, context=64)
    if name != "bitnet-0.73b":
        shape = dataclasses.replace(shape, hidden=1024)
    assert_backends_agree(SeededModel(shape, 5, 1), roomy(shape), 2)


def test_a_whole_llama_is_refused_before_it_is_drawn(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Draw, "int4", lambda *_: pytest.fail("drawn"))
    model = SeededModel(SHAPES["llama-3-8b"], 0)
    with pytest.raises(CompileError, match=r"llama-3-8b.*32-bit addresses"):
        compile_model(model, b"", ROOMY, vectors=False)


def test_memory_of_the_whole_shape():
    """The tape of bitnet-0.73b: at most 1.61 bits a weight, gains and filling included."""
    shape = SHAPES["bitnet-0.73b"]
    rows = sum(r * -(-k // 5) for r, k in matrix_shapes(shape.config()).values())
    memory = map_memory(shape.config(), ROOMY, 64, -(-rows // 64) * 64, 64)
    assert 8 * memory.regions["tape_layers"].size / weights(shape) <= 1.61
