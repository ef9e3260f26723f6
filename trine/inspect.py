"""Show what a checkpoint or an artefact holds, and which machines it fits."""

import argparse
from pathlib import Path
from typing import Any

from compiler.compile import compile_program
from compiler.fit import CompileError
from compiler.frontends import load_checkpoint
from hw.machine import MACHINES
from models.quantised import SITES, IntegerLinear, QuantisedModel

from .artefact import open_artefact
from .errors import EXIT_OK
from .output import read_file, table, write_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FILE."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a checkpoint or a .trine artefact")


def main(args: argparse.Namespace) -> int:
    """Print model, weights and fit."""
    path = args.file / "model.safetensors" if args.file.is_dir() else args.file
    result: dict[str, Any] = {"file": str(path)}
    if read_file(path, "checkpoint or artefact").startswith(b"PK"):
        opened = open_artefact(path)
        artefact, model = opened.artefact, opened.model
        result["artefact"] = {
            "machine": artefact.machine.name, "instructions": len(artefact.program) // 24,
            "tools": artefact.tools,
            "memory_bytes": artefact.memory_map["total_bytes"], "vectors": artefact.vectors is not None,
            "regions": {name: region["size"] for name, region in artefact.memory_map["regions"].items()},
        }  # fmt: skip
    else:
        model = load_checkpoint(path)
    result |= {"model": model.config.to_json(), "weights": weights(model), "fit": fit(model)}
    print(table(result["model"].items(), ("model", "value")), end="\n\n")
    print(table(result["weights"].items(), ("weights", "value")), end="\n\n")
    for name, value in result.get("artefact", {}).items():
        print(f"{name}: {value}")
    print(table(result["fit"].items(), ("machine", "fits")))
    write_json(args.json, result)
    return EXIT_OK


def weights(model: QuantisedModel) -> dict[str, Any]:
    """Counts of weights by kind, the share of zeros of the ternary ones, and what wider inputs there are."""
    counts = dict.fromkeys(("ternary", "zeros", "ternary bytes"), 0)
    integers: dict[str, int] = {}
    for matrix in (matrix for layer in model.layers for _, matrix in layer.matrices()):
        codes = matrix.codes
        if isinstance(matrix, IntegerLinear):
            integers[matrix.kind] = integers.get(matrix.kind, 0) + codes.numel()
        else:
            counts["ternary"] += codes.numel()
            counts["zeros"] += int((codes == 0).sum())
            counts["ternary bytes"] += codes.shape[0] * -(-codes.shape[1] // 5)
    found: dict[str, Any] = {}
    if counts["ternary"]:
        found = {**counts, "zeros": f"{counts['zeros'] / counts['ternary']:.3f}"}
    found |= integers
    found |= {
        f"head {model.head.kind}": model.head.codes.numel(),
        "embedding binary32": model.embedding.numel(),
    }
    if wide := [site for site in SITES if model.activations[site] == 12]:
        found["12-bit inputs of"] = ", ".join(wide)
    return found


def fit(model: QuantisedModel) -> dict[str, str]:
    """For each named machine "yes", or why not."""
    verdicts = {}
    for name, machine in MACHINES.items():
        try:
            compile_program(model, machine)
            verdicts[name] = "yes"
        except CompileError as error:
            verdicts[name] = f"no: {error}"
    return verdicts
