"""Perplexity of integer models beside float: ``python -m bench.perplexity [--stories N] [--json FILE]``.

stories260K (a float checkpoint of llama2.c) in int8 and in int4 in groups of 32, and the shipped ternary
model with a head of int8 and of int4, each with 8-bit and 12-bit inputs of its integer matrices: the golden
model's perplexity and the float model's on the same held-out stories. The float model of stories260K is the
checkpoint itself; that of the shipped model has its ternary weights, int8 activations and the float head.

Each story starts at BOS and is cut off at the model's context. Where ../shared is absent, stories260K is
skipped aloud, and the shipped model is measured on stories that it tells itself.
"""

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from compiler.frontends import load_checkpoint
from compiler.quantise import calibrate_grids
from models.evaluate import HELD_SEED, HELD_SHARE
from models.float_model import FloatModel
from models.golden import GoldenModel
from models.integer_quantise import Recipe
from models.llama2c import load_llama2c
from models.stories import hold_out, split_stories
from models.teacher import sample_stories
from models.ternary_file import load_ternary
from models.tokenizer import Tokenizer
from trine.output import note, table, write_json

from .shipped import ROOT, SHIPPED

SHARED = ROOT.parent / "shared"
TEXT = SHARED / "text" / "tinystories_dev.txt"
STORIES260K = SHARED / "checkpoints" / "stories260K.bin"
TOK512 = SHARED / "checkpoints" / "tok512.bin"
GROUP = 32
#: Each with 8-bit and with 12-bit activations. stories260K: all of one width; shipped: the head alone.
FLOAT_RECIPES = (Recipe(weights=8, head=8), Recipe(weights=4, head=4, group=GROUP))
TERNARY_RECIPES = (Recipe(head=8), Recipe(head=4, group=GROUP))


@dataclass
class Row:
    """One line of the table; perplexities are by token of the model's own tokenizer."""

    model: str
    weights: str
    head: str
    activations: int
    tokens: int
    golden: float
    reference: float

    @property
    def ratio(self) -> float:
        """Golden perplexity over float perplexity."""
        return self.golden / self.reference


@dataclass
class Subject:
    """A checkpoint, its float form, what it reads (each story as ids, BOS first), and what to make of it."""

    checkpoint: Path
    float_model: FloatModel
    stories: list[list[int]]
    recipes: tuple[Recipe, ...]

    @property
    def tokens(self) -> int:
        """Tokens that are predicted."""
        return sum(len(story) - 1 for story in self.stories)


@torch.inference_mode()
def perplexity(forward: Callable[[list[int]], Tensor], stories: list[list[int]], label: str = "") -> float:
    """exp of the mean nats a token; ``forward`` gives logits [T, vocab] of T ids."""
    nats = count = 0.0
    for story in tqdm(stories, desc=label, unit="story", disable=not label, leave=False):
        logits, targets = forward(story[:-1]).double(), torch.tensor(story[1:])
        nats += float(torch.nn.functional.cross_entropy(logits, targets, reduction="sum"))
        count += len(targets)
    return math.exp(nats / count)


def measure(subject: Subject, progress: bool = True) -> Iterator[Row]:
    """Its rows, one for each recipe and width of activations, on grids calibrated on the first story."""
    name, grids = subject.float_model.config.name, None
    reference = perplexity(
        lambda ids: subject.float_model(torch.tensor([ids]))[0],
        subject.stories,
        f"{name}, float" if progress else "",
    )
    for recipe in subject.recipes:
        for bits in (8, 12):
            used = Recipe(recipe.weights, recipe.head, recipe.group, bits)
            model = load_checkpoint(subject.checkpoint, used)
            grids = grids or calibrate_grids(model, subject.stories[0]).grids
            weights, head = (getattr(m, "kind", "ternary") for m in (model.layers[0].q, model.head))
            golden = GoldenModel(model.with_grids(grids))
            label = f"{name}, {weights}, head {head}, {bits}-bit" if progress else ""
            found = perplexity(golden.forward, subject.stories, label)
            yield Row(name, weights, head, bits, subject.tokens, found, reference)


def encoded(stories: list[str], tokenizer: Tokenizer, context: int) -> list[list[int]]:
    """Ids of each story behind BOS, as many as the context can predict."""
    found = [[tokenizer.bos, *tokenizer.encode(story)][: context + 1] for story in stories]
    return [story for story in found if len(story) > 1]


def subjects(count: int) -> Iterator[Subject]:
    """What there is to measure, on ``count`` stories each."""
    shipped = load_ternary(SHIPPED / "model.safetensors")
    tokenizer = Tokenizer.from_json(SHIPPED / "tokenizer.json")
    if SHARED.is_dir():
        _, stories = hold_out(split_stories(TEXT.read_text(encoding="utf-8")), HELD_SHARE, HELD_SEED)
        stories = stories[:count]
        teacher = load_llama2c(STORIES260K)
        own = Tokenizer.from_llama2c(TOK512, teacher.config.vocab)
        yield Subject(STORIES260K, teacher, encoded(stories, own, teacher.config.context), FLOAT_RECIPES)
    else:
        note(
            "SKIPPED ALOUD: stories260K (../shared with the real checkpoints and texts is absent); "
            "the shipped model reads stories of its own"
        )
        stories = sample_stories(shipped, tokenizer, count, 1.0, torch.Generator().manual_seed(1))
    yield Subject(
        SHIPPED / "model.safetensors",
        shipped,
        encoded(stories, tokenizer, shipped.config.context),
        TERNARY_RECIPES,
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stories", type=int, default=16, metavar="N", help="held-out stories (default 16)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", metavar="FILE", help="also write the figures here")
    args = parser.parse_args()
    if args.stories < 1:
        parser.error(f"--stories: wanted 1 or more, found {args.stories}")
    torch.set_num_threads(args.threads)
    rows = [row for subject in subjects(args.stories) for row in measure(subject)]
    cells = [
        (r.model, r.weights, r.head, r.activations, r.tokens)
        + (f"{r.golden:.4f}", f"{r.reference:.4f}", f"{r.ratio:.5f}")
        for r in rows
    ]
    columns = ("model", "weights", "head", "activations", "tokens", "golden", "float", "ratio")
    print(table(cells, columns))
    write_json(args.json, {"rows": [{**asdict(row), "ratio": row.ratio} for row in rows]})


if __name__ == "__main__":
    main()
