"""A small model on disk in Trine's own format, its tokenizer, and its artefact."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer as HFTokenizer
from tokenizers import decoders, models, pre_tokenizers, trainers

from compiler.compile import compile_model
from hw.artefact import Artefact
from hw.machine import CI
from models.quantised import QuantisedModel
from models.tokenizer import Tokenizer
from tests.models.random_model import random_model

VOCAB = 300


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """Byte-level BPE with `VOCAB` ids."""
    inner = HFTokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(
        ["once upon a time there was a little girl and a big dog who liked to play"] * 4, trainer
    )
    return Tokenizer.from_json(inner.to_str().encode())


@pytest.fixture(scope="session")
def model(tokenizer: Tokenizer) -> QuantisedModel:
    """A random model over that vocabulary."""
    return random_model(
        5, dim=64, hidden=64, layers=2, heads=4, vocab=tokenizer.vocab_size, context=48, tied=False
    )


@pytest.fixture(scope="session")
def artefact_path(
    model: QuantisedModel, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The model compiled for ci, with test vectors."""
    path = tmp_path_factory.mktemp("artefact") / "small.trine"
    artefact: Artefact = compile_model(model, tokenizer.to_bytes(), CI)
    artefact.write(path)
    return path
