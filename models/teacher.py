"""The float teacher: stories sampled from a llama2.c checkpoint (`models.llama2c`) in large batches."""

import argparse
import os
from pathlib import Path

import torch
from tqdm import tqdm

from .float_model import FloatModel, KVCache
from .llama2c import load_llama2c
from .tokenizer import Tokenizer

ROOT = Path(__file__).resolve().parent.parent


@torch.inference_mode()
def sample_stories(
    model: FloatModel, tokenizer: Tokenizer, batch: int, temperature: float, generator: torch.Generator
) -> list[str]:
    """One batch of complete stories, each from BOS until BOS or EOS comes; unfinished ones are dropped.

    Sequences leave the batch when they end, and the cache is compacted when a quarter have left.
    """
    config = model.config
    ids = torch.full((batch, 1), config.bos)
    history, owner = torch.zeros(batch, config.context, dtype=torch.int64), torch.arange(batch)
    lengths, alive = torch.zeros(batch, dtype=torch.int64), torch.ones(batch, dtype=torch.bool)
    cache = KVCache.empty(config, batch)
    for position in range(config.context):
        logits = model(ids, cache)[:, -1] / temperature
        noise = torch.empty_like(logits).exponential_(generator=generator)
        ids = (logits.softmax(-1) / noise).argmax(-1, keepdim=True)  # the exponential-clock form of sampling
        history[owner, position] = ids[:, 0]
        ended = alive & ((ids[:, 0] == config.bos) | (ids[:, 0] == config.eos))
        lengths[owner[ended]] = position
        alive &= ~ended
        if not alive.any():
            break
        if alive.sum() <= 0.75 * len(alive):
            ids, owner = ids[alive], owner[alive]
            cache.keys = [k[alive] for k in cache.keys]
            cache.values = [v[alive] for v in cache.values]
            alive = alive[alive]
    return [
        tokenizer.decode(row[:length].tolist()).strip()
        for row, length in zip(history, lengths.tolist(), strict=True)
        if length > 0
    ]


def sample_to_file(
    checkpoint: Path,
    tokens: Path,
    out: Path,
    megabytes: float,
    batch: int = 512,
    temperature: float = 1.0,
    seed: int = 1,
) -> None:
    """Sample until ``out`` (stories, each followed by NUL) holds ``megabytes``.

    An existing file is continued, so that an interrupted run loses one batch at most.
    """
    model = load_llama2c(checkpoint)
    tokenizer = Tokenizer.from_llama2c(tokens, model.config.vocab)
    out.parent.mkdir(parents=True, exist_ok=True)
    held = out.stat().st_size if out.exists() else 0
    generator = torch.Generator().manual_seed(seed + held)
    with tqdm(total=int(megabytes * 1e6), initial=held, unit="B", unit_scale=True, desc="teacher") as bar:
        while held < megabytes * 1e6:
            stories = sample_stories(model, tokenizer, batch, temperature, generator)
            block = "".join(story + "\0" for story in stories).encode()
            with out.open("ab") as file:
                file.write(block)
                file.flush()
                os.fsync(file.fileno())
            held += len(block)
            bar.update(len(block))


def main() -> None:
    """Command line: ``python -m models.teacher``."""
    parser = argparse.ArgumentParser(description="Sample stories from a float llama2.c checkpoint.")
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "../shared/checkpoints/stories260K.bin")
    parser.add_argument("--tokens", type=Path, default=ROOT / "../shared/checkpoints/tok512.bin")
    parser.add_argument("--out", type=Path, default=ROOT / "build/teacher.txt")
    parser.add_argument("--megabytes", type=float, default=30.0)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    sample_to_file(
        args.checkpoint, args.tokens, args.out, args.megabytes, args.batch, args.temperature, args.seed
    )


if __name__ == "__main__":
    main()
