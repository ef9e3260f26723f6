"""Train the shipped ternary model: ``python -m models.train`` (see models/shipped/README.md).

Quantisation-aware from the first step (BitNet b1.58 straight-through estimators, ``models.float_model``),
AdamW, linear warm-up and linear decay to zero over a budget of minutes. The budget counts time spent in
steps, so an interrupted run continues from its checkpoint where the schedule stood.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer as HFTokenizer
from tokenizers import decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from .config import ModelConfig
from .evaluate import HELD_SEED, HELD_SHARE, WATCHED, bits_per_byte
from .float_model import FloatModel
from .stories import Mixer, hold_out, load_teacher, sentences, split_stories
from .teacher import ROOT, sample_to_file
from .ternary_file import load_ternary, save_ternary
from .tokenizer import Tokenizer

SHIPPED = ModelConfig(
    "trine-stories-1m", dim=128, hidden=384, layers=6, heads=8, kv_heads=4, vocab=1024, context=512
)


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Parameters
    ----------
    minutes: time budget of the steps; the schedule is a function of the share of it that is spent.
    batch, length: rows per step and tokens per row.
    long_from: share of the budget after which rows hold the whole context (fewer of them).
    rate: peak learning rate; reached after ``warmup`` of the budget, then linearly to zero.
    weight_decay: in the first half of the budget; none in the second.
    real_share: probability that a story is real, not the teacher's: at the start, at the end.
    """

    minutes: float = 62.0
    batch: int = 6
    length: int = 256
    long_from: float = 0.85
    rate: float = 3e-3
    warmup: float = 0.015
    weight_decay: float = 0.1
    real_share: tuple[float, float] = (0.1, 0.7)

    def rate_at(self, spent: float) -> float:
        """Learning rate when the share ``spent`` (0 to 1) of the budget is gone."""
        return self.rate * min((spent + 1e-4) / self.warmup, (1 - spent) / (1 - self.warmup))


def train_tokenizer(texts: list[str], vocab: int) -> bytes:
    """A byte-level BPE with <unk>, <s>, </s> as ids 0, 1, 2, as ``tokenizers`` JSON."""
    inner = HFTokenizer(models.BPE(unk_token=None))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab,
            special_tokens=["<unk>", "<s>", "</s>"],
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    if inner.get_vocab_size() != vocab:
        raise ValueError(
            f"tokenizer: wanted {vocab} ids, found {inner.get_vocab_size()}; train it on more text"
        )
    return inner.to_str(pretty=False).encode()


def optimiser_of(model: FloatModel) -> torch.optim.AdamW:
    """AdamW with decay on the matrices only."""
    matrices = [p for p in model.layers.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if not any(p is m for m in matrices)]
    return torch.optim.AdamW(
        [{"params": matrices, "decays": True}, {"params": others, "decays": False}],
        lr=0.0,
        betas=(0.9, 0.99),
        weight_decay=0.0,
        fused=True,
    )


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file, then rename it to ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".tmp")
    write(draft)
    draft.replace(path)


class Run:
    """One training run and its state: model, optimiser, seconds spent, steps done."""

    def __init__(self, config: ModelConfig, recipe: Recipe, build: Path, seed: int, compiled: bool) -> None:
        torch.manual_seed(seed)
        self.recipe, self.path, self.seed = recipe, build / "checkpoint.pt", seed
        self.model = FloatModel(config, "ternary", 8)
        self.optimiser = optimiser_of(self.model)
        self.spent, self.steps = 0.0, 0
        self._loss = torch.compile(self._plain_loss, dynamic=False) if compiled else self._plain_loss
        self._warm: set[int] = set()
        if self.path.exists():
            state = torch.load(self.path, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.spent, self.steps = state["spent"], state["steps"]

    def _plain_loss(self, rows: Tensor) -> Tensor:
        return functional.cross_entropy(self.model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())

    @property
    def share(self) -> float:
        """Share of the budget that is spent, 0 to 1."""
        return min(1.0, self.spent / (60 * self.recipe.minutes))

    def save(self) -> None:
        """Write the checkpoint."""
        state = {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "spent": self.spent,
            "steps": self.steps,
        }
        write_atomically(self.path, lambda draft: torch.save(state, draft))

    def step(self, mixer: Mixer) -> float:
        """One step; returns its loss in nats a token. The first step of a length (compilation) is free."""
        r, began = self.recipe, time.monotonic()
        length = r.length if self.share < r.long_from else self.model.config.context
        real = r.real_share[0] + (r.real_share[1] - r.real_share[0]) * self.share
        rows = mixer.rows(max(1, r.batch * r.length // length), length, real)
        for group in self.optimiser.param_groups:
            group["lr"] = r.rate_at(self.share)
            group["weight_decay"] = r.weight_decay if group["decays"] and self.share < 0.5 else 0.0
        loss = self._loss(rows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.steps += 1
        if length in self._warm:
            self.spent += time.monotonic() - began
        self._warm.add(length)
        return loss.item()


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train the shipped ternary story model and export it.")
    add, recipe = parser.add_argument, Recipe()
    add("--text", type=Path, default=ROOT / "../shared/text/tinystories_dev.txt", help="real stories")
    add(
        "--teacher",
        type=Path,
        default=ROOT / "../shared/checkpoints/stories260K.bin",
        help="teacher checkpoint",
    )
    add(
        "--teacher-tokens", type=Path, default=ROOT / "../shared/checkpoints/tok512.bin", help="its tokenizer"
    )
    add(
        "--teacher-text",
        type=Path,
        nargs="+",
        default=[ROOT / "build/teacher.txt"],
        help="cached samples; a single missing file is sampled first",
    )
    add("--teacher-megabytes", type=float, default=12.0, help="how much to sample then")
    add("--build", type=Path, default=ROOT / "build/train", help="folder of the checkpoint and the tokenizer")
    add("--export", type=Path, default=ROOT / "models/shipped", help="where the model is written")
    add(
        "--minutes", type=float, default=recipe.minutes, help="budget, compilation and evaluation not counted"
    )
    add("--rate", type=float, default=recipe.rate, help="peak learning rate")
    add("--batch", type=int, default=recipe.batch, help="rows per step")
    add("--save-every", type=float, default=3.0, help="minutes between checkpoints")
    add("--export-every", type=float, default=12.0, help="minutes between interim evaluations and exports")
    add("--threads", type=int, default=2)
    add("--seed", type=int, default=7)
    add("--no-compile", action="store_true", help="without torch.compile (which needs a C++ compiler)")
    return parser.parse_args()


def main() -> None:
    """Train, or continue, and export."""
    args = parse()
    torch.set_num_threads(args.threads)
    if len(args.teacher_text) == 1 and not args.teacher_text[0].exists():
        sample_to_file(args.teacher, args.teacher_tokens, args.teacher_text[0], args.teacher_megabytes)
    kept, held = hold_out(split_stories(args.text.read_text(encoding="utf-8")), HELD_SHARE, HELD_SEED)
    forbidden = set().union(*map(sentences, held)) - set().union(*map(sentences, kept))
    watched, real = kept[::WATCHED], [story for index, story in enumerate(kept) if index % WATCHED]
    teacher = load_teacher(args.teacher_text, forbidden)
    tqdm.write(
        f"{len(real)} real stories ({sum(map(len, real))} characters), {len(watched)} watched, {len(held)} "
        f"held out, {len(teacher)} teacher stories ({sum(map(len, teacher))} characters)"
    )
    vocabulary = args.build / "tokenizer.json"
    if not vocabulary.exists():
        data = train_tokenizer(real + teacher[:2000], SHIPPED.vocab)
        write_atomically(vocabulary, lambda draft: draft.write_bytes(data))
    tokenizer = Tokenizer.from_json(vocabulary)
    run = Run(
        SHIPPED, Recipe(args.minutes, args.batch, rate=args.rate), args.build, args.seed, not args.no_compile
    )
    mixer = Mixer(tokenizer, real, teacher, args.seed + run.steps)

    def export(label: str) -> None:
        save_ternary(run.model, args.export / "model.safetensors")
        write_atomically(
            args.export / "tokenizer.json", lambda draft: draft.write_bytes(vocabulary.read_bytes())
        )
        figure = bits_per_byte(load_ternary(args.export / "model.safetensors"), tokenizer, watched)
        tqdm.write(f"{label}: step {run.steps}, {figure:.4f} bits per byte on {len(watched)} watched stories")

    mean, saved, exported = 0.0, run.spent, run.spent
    with tqdm(
        total=round(60 * args.minutes),
        initial=round(run.spent),
        unit="s",
        mininterval=10,
        bar_format="{l_bar}{bar:20}{n:.0f}/{total} s{postfix}",
    ) as bar:
        while run.share < 1:
            loss = run.step(mixer)
            mean = loss if not mean else 0.98 * mean + 0.02 * loss
            bar.update(run.spent - bar.n)
            bar.set_postfix_str(
                f"step {run.steps}, loss {mean:.3f}, rate {run.recipe.rate_at(run.share):.1e}", refresh=False
            )
            if run.spent - saved >= 60 * args.save_every:
                run.save()
                saved = run.spent
            if run.spent - exported >= 60 * args.export_every:
                export("interim")
                exported = run.spent
    run.save()
    export("final")


if __name__ == "__main__":
    main()
