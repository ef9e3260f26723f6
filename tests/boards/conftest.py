"""The tokenizer of the small models."""

from tests.trine.conftest import tokenizer

__all__ = ["tokenizer"]
