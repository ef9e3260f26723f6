"""Four texts in one tile: `python -m bench.batch` (shipped model, machine ci, RTL).

Each text must equal its solo run, on golden model and RTL; cycles per token beside the solo figure.
"""

import argparse
import sys

import torch

from hw.artefact import Artefact
from models.sampling import Sampler
from models.tokenizer import Tokenizer
from sim.backend import Backend
from sim.backends import Golden
from sim.rtl_backend import Rtl
from trine.generate import Plan, Text, Timing, generate
from trine.output import note, table

from .shipped import shipped_artefact

PROMPTS = ("Once upon a time", "The little dog", "Tom and Lily went to the park", "One day")


def write(backend: Backend, texts: list[Text], count: int, tile: int) -> Timing:
    """Greedy text."""
    return generate(backend, texts, Plan(count, 32, tile, Sampler(temperature=0)))


def main() -> int:
    """Exit code 1 where a text differs."""
    parser = argparse.ArgumentParser(prog="python -m bench.batch", description=__doc__)
    parser.add_argument("--tokens", type=int, default=24, help="of each text (default %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    artefact = Artefact.read(shipped_artefact("ci"))
    tokenizer, config = Tokenizer.from_bytes(artefact.tokenizer), artefact.config
    prompts = [[config["bos"], *tokenizer.encode(text)] for text in PROMPTS]
    room = artefact.memory_map["kv_rows"] // len(prompts)

    with Rtl(artefact, progress=note) as rtl:
        together = [Text(prompt, room * i) for i, prompt in enumerate(prompts)]
        shared = write(rtl, together, options.tokens, 4)
        alone = [Text(prompt) for prompt in prompts]
        solo = [write(rtl, [text], options.tokens, 4) for text in alone]
    golden = [Text(prompt) for prompt in prompts]
    for text in golden:
        write(Golden(artefact), [text], options.tokens, 1)

    equal = [a.tokens == b.tokens == c.tokens for a, b, c in zip(together, alone, golden, strict=True)]
    for text, same in zip(together, equal, strict=True):
        print(f"{'equal    ' if same else 'DIFFERENT'} {tokenizer.decode(text.ids)!r}")
    steps = sum(map(len, shared.decoded))
    single = sum(sum(one.decode) for one in solo) / sum(len(one.decoded) for one in solo)
    each = sum(shared.decode) / steps
    rows = [
        ("four texts, one tile", sum(shared.decode), steps, f"{each:.0f}", f"{single / each:.2f}"),
        ("one at a time", sum(sum(one.decode) for one in solo), sum(len(one.decoded) for one in solo),
         f"{single:.0f}", "1.00"),
    ]  # fmt: skip
    print(table(rows, ("decode", "cycles", "tokens", "cycles per token", "throughput")))
    return 0 if all(equal) else 1


if __name__ == "__main__":
    sys.exit(main())
