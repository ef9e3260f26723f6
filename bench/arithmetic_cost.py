"""What the exact arithmetic costs: perplexity of the golden model against the plain float model.

``python -m bench.arithmetic_cost [CHECKPOINT --tokenizer T --text FILE] [--stories N]``

Both models have the same weights. Each story starts at BOS and is cut off at the model's context (said
aloud); every token of what remains is predicted. The acceptance figure: the golden perplexity is within 1 %
of the float model's on ``tinystories_dev.txt``.
"""

import argparse
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from compiler.frontends import load_checkpoint
from compiler.quantise import calibrate_grids
from models.float_reference import float_reference
from models.golden import GoldenModel
from models.quantised import QuantisedModel
from models.stories import split_stories
from models.tokenizer import Tokenizer

#: Real checkpoints and texts, which are not part of the project.
SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@dataclass
class Cost:
    """The figures of one run.

    Members
    -------
    stories, tokens, bytes: what was predicted (the bytes are the text of the tokens).
    cut_stories, cut_tokens: stories longer than the context, and the tokens left out there.
    golden, float: perplexity by token.
    golden_bits, float_bits: bits per byte.
    greedy: tokens generated from BOS by both.
    first_difference: index of the first of them that differs, None where none does.
    """

    stories: int
    tokens: int
    bytes: int
    cut_stories: int
    cut_tokens: int
    golden: float
    float: float
    golden_bits: float
    float_bits: float
    greedy: int
    first_difference: int | None

    @property
    def ratio(self) -> float:
        """Golden perplexity over float perplexity."""
        return self.golden / self.float

    def __str__(self) -> str:
        where = (
            f"none in {self.greedy} tokens from BOS"
            if self.first_difference is None
            else f"token {self.first_difference} from BOS (of {self.greedy})"
        )
        return (
            f"{self.stories} stories, {self.tokens} tokens, {self.bytes} bytes\n"
            f"cut off at the context: {self.cut_stories} stories, {self.cut_tokens} tokens left out\n"
            f"perplexity: golden {self.golden:.5f}, float {self.float:.5f}, ratio {self.ratio:.6f}\n"
            f"bits per byte: golden {self.golden_bits:.5f}, float {self.float_bits:.5f}\n"
            f"first differing greedy token: {where}"
        )


def _nats(logits: Tensor, targets: list[int]) -> float:
    return float(torch.nn.functional.cross_entropy(logits.double(), torch.tensor(targets), reduction="sum"))


@torch.inference_mode()
def measure(
    model: QuantisedModel, tokenizer: Tokenizer, stories: list[str], greedy: int = 0, progress: bool = False
) -> Cost:
    """Compare the golden and the float form of ``model`` on ``stories`` and on ``greedy`` tokens from BOS."""
    golden, reference, config = GoldenModel(model), float_reference(model), model.config
    golden_nats = float_nats = 0.0
    tokens = size = cut_stories = cut_tokens = 0
    bar = tqdm(stories, desc="stories", unit="story", disable=not progress)
    for story in bar:
        whole = [config.bos, *tokenizer.encode(story)]
        ids = whole[: config.context + 1]
        cut_stories += len(ids) < len(whole)
        cut_tokens += len(whole) - len(ids)
        if len(ids) < 2:
            continue
        golden_nats += _nats(golden.forward(ids[:-1]), ids[1:])
        float_nats += _nats(reference(torch.tensor([ids[:-1]]))[0], ids[1:])
        tokens += len(ids) - 1
        size += len(tokenizer.decode(ids).encode())
        bar.set_postfix(ratio=f"{math.exp((golden_nats - float_nats) / tokens):.6f}")
    if not tokens:
        raise ValueError("text: wanted at least one story with a token, found none; give another file")
    ours = [token for token, _ in golden.generate([config.bos], greedy)]
    theirs = reference.greedy([config.bos], greedy)[1:]
    first = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=True), 1) if a != b), None)
    bits = math.log(2) * size
    return Cost(
        len(stories),
        tokens,
        size,
        cut_stories,
        cut_tokens,
        math.exp(golden_nats / tokens),
        math.exp(float_nats / tokens),
        golden_nats / bits,
        float_nats / bits,
        greedy,
        first,
    )


def read_tokenizer(path: Path, vocab: int) -> Tokenizer:
    """A tokenizer in the ``tokenizers`` JSON form or llama2.c's, told apart by content."""
    if path.read_bytes().lstrip().startswith(b"{"):
        return Tokenizer.from_json(path)
    return Tokenizer.from_llama2c(path, vocab)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "checkpoint", type=Path, nargs="?", default=SHARED / "checkpoints" / "bit_model_1M.bin"
    )
    parser.add_argument("--tokenizer", type=Path, default=SHARED / "checkpoints" / "tok512.bin")
    parser.add_argument("--text", type=Path, default=SHARED / "text" / "tinystories_dev.txt")
    parser.add_argument("--stories", type=int, help="only the first N stories")
    parser.add_argument("--greedy", type=int, default=256, help="greedy tokens compared (default 256)")
    parser.add_argument(
        "--calibrate",
        type=int,
        default=0,
        metavar="N",
        help="choose the grids of squares on the first N tokens (default: none, 2^-44)",
    )
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = load_checkpoint(args.checkpoint)
    tokenizer = read_tokenizer(args.tokenizer, model.config.vocab)
    text = args.text.read_text(encoding="utf-8")
    stories = [story for group in split_stories(text) for story in group][: args.stories]
    if args.calibrate:
        sample = tokenizer.encode(text[: 8 * args.calibrate])[: args.calibrate - 1]
        model = calibrate_grids(model, [model.config.bos, *sample], progress=True)
    cost = measure(model, tokenizer, stories, min(args.greedy, model.config.context - 1), progress=True)
    print(f"model {model.config.name!r}, grids {model.grids}\n{cost}")
    if args.json:
        figures = {"model": model.config.name, "grids": model.grids, "ratio": cost.ratio, **asdict(cost)}
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
