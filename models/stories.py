"""Story text for training: splitting, held-out stories, teacher text, and rows of token ids."""

import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from .tokenizer import Tokenizer

_OPENING = re.compile(
    r"(Once upon a time|Once,? there|There (was|were|lived) once|There once|(Long|A long time) ago)"
)
_INTRODUCTION = re.compile(
    r"([A-Z][a-z]+)( and ([A-Z][a-z]+))? "
    r"(was|were|is|are|likes?|liked|loves?|loved|had|has|have|wanted|lived) "
)
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]")
_NAMES = (
    ("Lily", "Mia", "Sue", "Sara", "Anna", "Lucy", "Amy", "Jane", "Emma", "Molly", "Daisy", "Jenny"),
    ("Tim", "Tom", "Ben", "Max", "Sam", "Timmy", "Jack", "Bob", "Billy", "John", "Spot", "Bobby"),
)
_NAME = re.compile(r"\b(" + "|".join(sum(_NAMES, ())) + r")\b")


def normalise(text: str) -> str:
    """One form for all story text: repaired and plain quotes, no trailing blanks, one blank line a paragraph.

    Some TinyStories hold UTF-8 that was once read as Windows-1252; those sequences become the plain
    characters that they stand for.
    """
    text = re.sub(r"\u00e2\u20ac(\u0153|\u009d|\x9d)|\u00e2\u20ac(?=\s|$)|[\u201c\u201d]", '"', text)
    text = re.sub(r"\u00e2\u20ac(\u2122|\u02dc)|[\u2018\u2019]", "'", text)
    text = re.sub(r"\u00e2\u20ac(\u201c|\u201d)", "-", text).replace("\u00e2\u20ac", '"')
    return re.sub(r"[ \t]*\n\s*", "\n\n", text).strip()


def split_stories(text: str) -> list[list[str]]:
    """Stories, in order, grouped by what is certain.

    The file marks no boundaries. A paragraph like "Once upon a time" surely begins a story, so each group
    begins with one; within a group of over 2,500 characters a paragraph that introduces a new name begins
    another story (a guess, so both sides of such a boundary may belong to one story).
    """
    groups: list[list[str]] = []
    for paragraph in normalise(text).split("\n\n"):
        if not groups or _OPENING.match(paragraph):
            groups.append([])
        groups[-1].append(paragraph)
    return [_split_group(group) for group in groups]


def _split_group(paragraphs: list[str]) -> list[str]:
    if sum(map(len, paragraphs)) <= 2500:
        return ["\n\n".join(paragraphs)]
    stories: list[list[str]] = [[]]
    for paragraph in paragraphs:
        found = _INTRODUCTION.match(paragraph)
        if found and stories[-1]:
            before = " ".join(stories[-1])
            if any(name and name not in before for name in (found[1], found[3])):
                stories.append([])
        stories[-1].append(paragraph)
    return ["\n\n".join(story) for story in stories]


def hold_out(groups: Sequence[Sequence[str]], share: float, seed: int) -> tuple[list[str], list[str]]:
    """(training stories, held-out stories), ``share`` of each kind held out, by seed.

    Of groups with one story whole groups are drawn; of a group that was split by guess one run of
    neighbouring stories is, so that at most the run's two ends may cut a story.
    """
    draw = random.Random(seed)
    certain = [group[0] for group in groups if len(group) == 1]
    drawn = set(draw.sample(range(len(certain)), round(share * len(certain))))
    kept = [story for index, story in enumerate(certain) if index not in drawn]
    held = [story for index, story in enumerate(certain) if index in drawn]
    for group in groups:
        if len(group) > 1:
            count = round(share * len(group))
            start = draw.randrange(len(group) - count + 1)
            held += group[start : start + count]
            kept += [*group[:start], *group[start + count :]]
    return kept, held


def sentences(story: str) -> set[str]:
    """The sentences of a story that are long enough (60 characters) to identify it."""
    return {part for found in _SENTENCE.finditer(story) if len(part := found[0].strip()) >= 60}


def load_teacher(paths: Sequence[Path], forbidden: set[str]) -> list[str]:
    """Sampled stories without duplicates and without any ``forbidden`` sentence."""
    stories: dict[str, None] = {}
    for path in paths:
        for story in path.read_text(encoding="utf-8", errors="strict").split("\0"):
            story = normalise(story)
            if len(story) >= 100 and not sentences(story) & forbidden:
                stories[story] = None
    return list(stories)


def swap_names(story: str, draw: random.Random) -> str:
    """The story with its common names permuted among themselves (girls and boys apart): augmentation."""
    table = {}
    for names in _NAMES:
        table.update(zip(names, draw.sample(names, len(names)), strict=True))
    return _NAME.sub(lambda found: table[found[0]], story)


class Mixer:
    """An endless supply of training rows: real stories (augmented) mixed with teacher stories.

    A row begins with BOS and holds ``BOS story EOS`` units until it is full; the last one is cut off.
    """

    def __init__(self, tokenizer: Tokenizer, real: Sequence[str], teacher: Sequence[str], seed: int) -> None:
        if tokenizer.eos is None:
            raise ValueError("tokenizer: wanted an EOS id between stories, found none; train one with </s>")
        self._tokenizer, self._real, self._teacher = tokenizer, list(real), list(teacher)
        self._draw = random.Random(seed)
        self._streams = (self._cycle(self._teacher, False), self._cycle(self._real, True))

    def _cycle(self, stories: list[str], augment: bool) -> Iterator[list[int]]:
        units: list[list[int]] | None = None
        while stories:
            if units is None or augment:
                texts = [
                    swap_names(s, self._draw) if augment and self._draw.random() < 0.5 else s for s in stories
                ]
                units = [self._unit(text) for text in texts]
            self._draw.shuffle(units)
            yield from units

    def _unit(self, text: str) -> list[int]:
        assert self._tokenizer.eos is not None
        return [self._tokenizer.bos, *self._tokenizer.encode(text), self._tokenizer.eos]

    def rows(self, batch: int, length: int, real_share: float) -> Tensor:
        """[batch, length + 1] int64; each story is real with probability ``real_share``."""
        rows = []
        for _ in range(batch):
            row: list[int] = []
            while len(row) <= length:
                real = bool(self._real) and (not self._teacher or self._draw.random() < real_share)
                row += next(self._streams[real])
            rows.append(row[: length + 1])
        return torch.tensor(rows)
