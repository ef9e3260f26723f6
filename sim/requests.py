"""A text as requests: the prompt in chunks, then steps; several texts side by side in a tile."""

from collections.abc import Callable, Iterator, Sequence

from .backend import Request
from .entries import Entry

__all__ = ["batch_step", "continued", "one_token", "prompt_requests"]


def one_token(token: int, position: int, logits: bool = False) -> Request:
    """One step of one sequence."""
    return Request([Entry(token, position)], logits=logits)


def continued(tokens: Sequence[int], position: int = 0, base: int = 0) -> list[Entry]:
    """Entries of neighbouring tokens of one sequence, the first at `position`."""
    return [Entry(token, position + i, base, i > 0) for i, token in enumerate(tokens)]


def prompt_requests(
    tokens: Sequence[int],
    *,
    chunk: int,
    tile: int,
    position: int = 0,
    base: int = 0,
    steps: int = 1,
    stops: Sequence[int] = (),
    logits: bool = False,
    most: Callable[[int], int] = lambda rows: 1 << 16,
) -> Iterator[Request]:
    """Requests that process a prompt in chunks; the last one wants the head, and `steps` tokens.

    most: tokens of a tile at most where the last of a chunk sees so many rows (`MachineConfig.tile_at`).
    """
    for at in range(0, len(tokens), chunk):
        last = at + chunk >= len(tokens)
        entries = continued(tokens[at : at + chunk], position + at, base)
        held = min(tile, most(entries[-1].position + 1))
        if last:
            yield Request(entries, held, steps, stops, logits=logits)
        else:
            yield Request(entries, held, head=False)


def batch_step(
    tokens: Sequence[int],
    positions: Sequence[int],
    bases: Sequence[int],
    *,
    steps: int = 1,
    stops: Sequence[int] = (),
    logits: bool = False,
) -> Request:
    """One tile of a token each of several sequences."""
    entries = [Entry(*row) for row in zip(tokens, positions, bases, strict=True)]
    return Request(entries, len(entries), steps, stops, batch=True, logits=logits)
