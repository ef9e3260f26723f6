"""Bits per byte on whole stories; ``python -m models.evaluate`` prints the model card's figures."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn import functional
from tqdm import tqdm

from .float_model import FloatModel
from .llama2c import load_llama2c
from .stories import hold_out, split_stories
from .teacher import ROOT, sample_stories
from .ternary_file import load_ternary
from .tokenizer import Tokenizer

#: Share and seed of the held-out stories of the shipped model.
HELD_SHARE, HELD_SEED = 0.12, 2026
#: Of the other stories every 25th is watched during training instead of trained on.
WATCHED = 25


@torch.inference_mode()
def bits_per_byte(
    model: FloatModel, tokenizer: Tokenizer, stories: Sequence[str], progress: bool = False
) -> float:
    """Total nats / ln 2 / UTF-8 bytes; each story begins at BOS, every token of its text is predicted.

    A story longer than the context is read in windows that overlap by half a context; a token is counted
    once, with the longest context any window gives it. The end of a story is not counted.
    """
    context, nats, size = model.config.context, 0.0, 0
    for story in tqdm(stories, desc="bits per byte", disable=not progress):
        ids = [tokenizer.bos, *tokenizer.encode(story)]
        size += len(story.encode())
        done = 1  # ids[:done] are counted (BOS is given)
        while done < len(ids):
            start = 0 if done == 1 else done - context // 2
            window = torch.tensor(ids[start : start + context + 1])
            losses = functional.cross_entropy(model(window[None, :-1])[0], window[1:], reduction="none")
            nats += float(losses[done - start - 1 :].double().sum())
            done = start + len(window)
    return nats / math.log(2) / size


def main() -> None:
    """Command line: the shipped model and the teacher on held-out stories and on fresh teacher text."""
    parser = argparse.ArgumentParser(description="Bits per byte of the shipped model and of its teacher.")
    parser.add_argument("--text", type=Path, default=ROOT / "../shared/text/tinystories_dev.txt")
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "../shared/checkpoints/stories260K.bin")
    parser.add_argument("--tokens", type=Path, default=ROOT / "../shared/checkpoints/tok512.bin")
    parser.add_argument("--shipped", type=Path, default=ROOT / "models/shipped")
    args = parser.parse_args()
    torch.set_num_threads(2)
    kept, held = hold_out(split_stories(args.text.read_text(encoding="utf-8")), HELD_SHARE, HELD_SEED)
    teacher = load_llama2c(args.checkpoint)
    teacher_tokens = Tokenizer.from_llama2c(args.tokens, teacher.config.vocab)
    model = load_ternary(args.shipped / "model.safetensors")
    tokens = Tokenizer.from_json(args.shipped / "tokenizer.json")
    sampled = sample_stories(teacher, teacher_tokens, 128, 1.0, torch.Generator().manual_seed(987654321))
    for label, stories in (
        ("held-out stories", held),
        ("training stories", [s for i, s in enumerate(kept) if i % WATCHED][: len(held)]),
        ("fresh teacher text", sampled),
    ):
        size = sum(len(story.encode()) for story in stories)
        ours, theirs = (
            bits_per_byte(m, t, stories, True) for m, t in ((model, tokens), (teacher, teacher_tokens))
        )
        print(
            f"{label}: {len(stories)} stories, {size} bytes: {model.config.name} {ours:.4f}, "
            f"{teacher.config.name} {theirs:.4f} bits per byte"
        )


if __name__ == "__main__":
    main()
