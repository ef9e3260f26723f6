"""`make demo`: the shipped model writes a story on the RTL, checked against golden model and interpreter."""

import argparse
import sys
import time

import torch

from models.text_stream import TextStream
from models.tokenizer import Tokenizer
from trine.check import check
from trine.cli import build_parser
from trine.errors import EXIT_DIFFERENT, EXIT_OK, user_errors
from trine.output import note
from trine.session import Job

from .shipped import PROMPT, shipped_artefact

COLUMNS = 76


class StoryPrinter:
    """Prints text as it comes, wrapped, each line begun with how far the run has come."""

    def __init__(self, tokenizer: Tokenizer, prompt: list[int], total: int):
        self._stream, self._total = TextStream(tokenizer), total
        self._text = "".join(self._stream.feed(token) for token in prompt)
        self._done, self._column = 0, 0

    def step(self, processed: int, found: list[int]) -> None:
        """`processed` more tokens are through; `found` join the text."""
        self._done += processed
        self._text += "".join(self._stream.feed(token) for token in found)
        text, self._text = self._text, ""
        for character in text:
            wrap = character == "\n" or (character == " " and self._column > COLUMNS)
            if self._column == 0 or wrap:
                print(("\n" if wrap else "") + f"{self._done:4d}/{self._total} | ", end="")
                self._column = 1
            if not wrap:
                print(character, end="")
                self._column += 1
        sys.stdout.flush()


def main() -> int:
    """Compile, build, run in lockstep, and say what was seen."""
    parser = argparse.ArgumentParser(prog="python -m bench.demo", description=__doc__)
    parser.add_argument("--tokens", type=int, default=80, help="tokens to generate (default %(default)s)")
    parser.add_argument("--prompt", default=PROMPT, help="text to continue (default %(default)r)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    begin = time.perf_counter()
    try:
        note("1. compile the shipped model for machine ci")
        artefact = shipped_artefact()
        note("2. build the simulator of ci (kept for the next time)")
        arguments = ["check", str(artefact), "--prompt", options.prompt, "--tokens", str(options.tokens)]
        job = Job.from_arguments(build_parser().parse_args(arguments))
        note("3. golden model, interpreter and RTL in lockstep; the text below comes out of the RTL\n")
        prompt = job.prompts[0]
        story = StoryPrinter(job.tokenizer, prompt, len(prompt) + job.count - 1)
        result = check(job, ["rtl", "golden", "isa"], story.step)
    except user_errors() as error:
        note(f"demo: error: {error}")
        return 2
    print("\n")
    cycles, bus = result["cycles"], result["bus"]
    if not result["exact"]:
        print(f"DIFFERENT: {result['first_difference']['text']}")
        return EXIT_DIFFERENT
    print(
        f"golden model, interpreter and RTL agree bit for bit: {len(result['tokens'])} tokens, "
        "logits, KV, counters"
    )
    if cycles["per_token"] is not None:
        print(f"cycles per token    {cycles['per_token']:.0f}")
        print(
            f"bus utilisation     {bus['utilisation']:.3f} of peak; "
            f"an ideal reader of this memory gets {bus['ceiling']:.3f}"
        )
        print(f"simulation speed    {result['simulated_cycles_per_second']:.0f} cycles/s")
    print(f"all of it took      {time.perf_counter() - begin:.0f} s")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
