"""Weights of 8, 4 and 1.6 bits on one machine: `python -m bench.integers`.

stories260K in int8 and in int4 (groups of 32 with minima), and the shipped ternary model with an int4 head,
each with 8-bit and 12-bit inputs of its integer matrices: golden model, interpreter and one and the same
simulator of `ci` must agree on ids, ranked tokens, logits, KV rows, exact counters and memory; then what a
decoded token costs. Perplexities are in `bench.perplexity`.
"""

import argparse
import sys

import torch
from tqdm import tqdm

from compiler.compile import compile_model
from compiler.frontends import load_checkpoint
from hw.artefact import Artefact
from hw.machine import CI
from models.integer_quantise import Recipe
from models.tokenizer import Tokenizer
from sim.backends import Golden, Isa
from sim.dram import DDR3
from sim.lockstep import run_lockstep
from sim.rtl_backend import Rtl
from sim.verilate import build_overlay
from trine.compile import calibrate
from trine.output import note, table, write_json

from .perplexity import STORIES260K, TOK512
from .shipped import PROMPT, ROOT, SHIPPED

GROUP = 32
TERNARY = (Recipe(head=4, group=GROUP), Recipe(head=4, group=GROUP, activations=12))
FLOAT = tuple(
    Recipe(weights=bits, head=bits, group=GROUP, activations=inputs) for bits in (8, 4) for inputs in (8, 12)
)


def artefacts() -> list[tuple[str, Recipe, Artefact]]:
    """(model, recipe, artefact for `ci`); without ../shared the shipped model alone, aloud."""
    shipped = Tokenizer.from_json(SHIPPED / "tokenizer.json")
    work = [("shipped", recipe, SHIPPED / "model.safetensors", shipped) for recipe in TERNARY]
    if STORIES260K.exists():
        tokenizer = Tokenizer.from_llama2c(TOK512, 512)
        work = [("stories260K", recipe, STORIES260K, tokenizer) for recipe in FLOAT] + work
    else:
        note(f"SKIPPED ALOUD: stories260K, since {STORIES260K.relative_to(ROOT.parent)} is absent")
    found = []
    for name, recipe, path, tokenizer in work:
        model = calibrate(load_checkpoint(path, recipe), tokenizer, None)
        found.append((name, recipe, compile_model(model, tokenizer.to_bytes(), CI, vectors=False)))
    return found


def main() -> int:
    """Compare and measure; exit code 1 where one differs."""
    parser = argparse.ArgumentParser(prog="python -m bench.integers", description=__doc__)
    parser.add_argument("--tokens", type=int, default=24, help="tokens generated (default %(default)s)")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    simulator = build_overlay(CI, note)
    rows: list[tuple[object, ...]] = []
    agreed = True
    for name, recipe, artefact in tqdm(artefacts(), desc="models", unit="model", disable=None):
        tokenizer = Tokenizer.from_bytes(artefact.tokenizer)
        prompt = [artefact.config["bos"], *tokenizer.encode(PROMPT)]
        with Rtl(artefact, DDR3, seed=5) as rtl:
            backends = [Golden(artefact), Isa(artefact, seed=5), rtl]
            found = run_lockstep(backends, prompt, options.tokens, artefact.config["layers"], chunk=8, tile=4)
            counts = rtl.counters()
        if found.difference is not None:
            note(f"{name}, {recipe}: {found.difference}")
            agreed = False
        decode = found.cycles[found.prefill :]
        ternary = recipe.weights is None
        rows.append((
            name, "ternary" if ternary else f"int{recipe.weights}", f"int{recipe.head}", recipe.activations,
            f"{counts['weight_bytes'] / counts['steps']:.0f}", f"{sum(decode) / len(decode):.0f}",
            f"{counts['integer_products'] / counts['tokens']:.0f}", "differ" if found.difference else "agree",
        ))  # fmt: skip
    head = ("model", "weights", "head", "input bits", "weight bytes/step", "cycles/token", "products/token",
            "golden, isa, rtl")  # fmt: skip
    print(table(rows, head))
    print(f"{len(rows)} models on one simulator of ci ({simulator.parent.name[:12]}): ", end="")
    print("golden = isa = rtl" if agreed else "DIFFERENT")
    write_json(options.json, {"integers": [dict(zip(head, row, strict=True)) for row in rows]})
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
