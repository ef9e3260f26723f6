"""The smallest machine with a board's bus, and a model for it."""

import dataclasses

from compiler.compile import compile_model
from hw.artefact import Artefact
from hw.machine import MACHINES
from models.tokenizer import Tokenizer
from tests.models.random_model import random_model

TINY = dataclasses.replace(
    MACHINES["ulx3s"], name="tiny", tables=2, head_lanes=2, attention_bytes=4, fifo_words=64, outstanding=4,
    burst_beats=16, activation_words=256, constant_words=256, accumulator_rows=128, quantised_words=128,
    score_words=256, max_heads=4, max_query=64, max_context=64, stage_bytes=64, top_k=2, max_chunk=8,
)  # fmt: skip


def tiny_artefact(tokenizer: Tokenizer) -> Artefact:
    """A random model of two layers, with test vectors."""
    model = random_model(
        5, dim=32, hidden=32, layers=2, heads=2, vocab=tokenizer.vocab_size, context=48, tied=False
    )
    return compile_model(model, tokenizer.to_bytes(), TINY)
