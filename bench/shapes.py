"""What compiling a shape takes, and what comes of it: ``python -m bench.shapes [SHAPE[:LAYERS] ...]``.

Each shape (the whole of bitnet-0.73b if none is named) is compiled and written in a process of its own, for a
machine that is large enough, as `trine compile --shape` does it. Printed: wall and processor seconds, the
peak of the process's memory, bytes by kind, and the bits that a ternary weight takes on the tape.

Kinds: ternary codes as packed, integers (codes, group scales, minima and row scales), the head likewise,
constants (gains, scalars, and what fills up to 64 bytes), rows of embedding and RoPE, K and V of a context.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from compiler.compile import compile_model
from hw.integer_shape import IntegerShape
from hw.isa import Width
from hw.machine import MachineConfig
from models.numerics import TRITS_PER_BYTE
from models.quantised import matrix_shapes
from models.seeded import SeededModel
from models.shapes import SHAPES, Shape, numbered_tokenizer
from trine.compile import SHAPE_GENERATED, calibrate_shape
from trine.output import table

__all__ = ["MOST_BITS", "ROOMY", "Sizes", "measure", "roomy"]

#: A machine of the size that the shapes need; not a named one, nor tuned. Its bus takes 64 bytes a cycle and
#: its tables 77: four times that is a row of 1536 trits.
ROOMY = MachineConfig(
    name="roomy", bus_bytes=64, tables=77, head_lanes=16, lanes=16, attention_bytes=32, max_group=8,
    fifo_words=64, outstanding=8, burst_beats=32, activation_words=65536, constant_words=16384,
    accumulator_rows=32768, quantised_words=32768, score_words=2**18, max_heads=32, max_query=4096,
    max_context=8192, stage_bytes=8192, tile=4, family="xcup", table_form="byte",
)  # fmt: skip


def roomy(shape: Shape) -> MachineConfig:
    """`ROOMY`, of fewer lanes where the scales of a K row would not fill whole words of 16."""
    return ROOMY if 8 * shape.kv_heads % ROOMY.lanes == 0 else replace(ROOMY, name="roomy, 8 lanes", lanes=8)


#: Bits of a ternary weight on the tape at most.
MOST_BITS = 1.61

#: Bytes by kind.
Sizes = dict[str, int]


def sizes(model: SeededModel, machine: MachineConfig, memory_map: dict[str, Any]) -> Sizes:
    """Bytes of a compiled model by kind; those of memory without initial contents too, logits left out."""
    regions = {name: region["size"] for name, region in memory_map["regions"].items()}
    config, form = model.config, model.form("q")
    found = {"ternary": 0, "integers": 0}
    for rows, k in matrix_shapes(config).values():
        if form is None:
            found["ternary"] += config.layers * rows * -(-k // TRITS_PER_BYTE)
        else:
            found["integers"] += config.layers * _integer_bytes(machine, rows, k, **form)
    found["head"] = _integer_bytes(machine, config.vocab, config.dim, 8, 0, False)
    tape = sum(regions[f"tape_{block}"] for block in ("prologue", "layers", "epilogue"))
    found["constants and filling"] = tape - sum(found.values())
    return found | {name: regions[name] for name in ("embedding", "rope", "key", "value")}


def _integer_bytes(machine: MachineConfig, rows: int, k: int, bits: int, group: int, minima: bool) -> int:
    width = {8: Width.INT8, 4: Width.INT4}[bits]
    fields = {"rows": rows, "k": k, "width": width, "group": group, "minima": minima}
    return IntegerShape.of(machine, fields).bytes


def measure(
    name: str, layers: int | None, seed: int, vectors: bool, machine: MachineConfig
) -> dict[str, Any]:
    """Compile and write one shape in this process."""
    begin = time.perf_counter()
    shape = SHAPES[name]
    model = SeededModel(shape, seed, layers)
    tokenizer = numbered_tokenizer(model.config)
    calibrated = calibrate_shape(model)
    artefact = compile_model(calibrated, tokenizer.to_bytes(), machine, vectors, generated=SHAPE_GENERATED)
    with tempfile.TemporaryDirectory() as folder:
        written = artefact.write(Path(folder) / "shape.trine")
    use = resource.getrusage(resource.RUSAGE_SELF)
    kinds = sizes(model, machine, artefact.memory_map)
    weights = model.config.layers * sum(rows * k for rows, k in matrix_shapes(model.config).values())
    return {
        "shape": name, "layers": model.config.layers, "seed": seed, "weights": weights,
        "wall_seconds": time.perf_counter() - begin, "processor_seconds": use.ru_utime + use.ru_stime,
        "peak_bytes": use.ru_maxrss * 1024, "file_bytes": written, "bytes": kinds,
        "bits_per_ternary_weight": 8 * kinds["ternary"] / weights if kinds["ternary"] else None,
        "bits_per_integer_weight": 8 * kinds["integers"] / weights if kinds["integers"] else None,
    }  # fmt: skip


def report(found: dict[str, Any]) -> str:
    """What `measure` found, as text."""
    bits = found["bits_per_ternary_weight"] or found["bits_per_integer_weight"]
    kind = "ternary" if found["bits_per_ternary_weight"] else "integer"
    return (
        f"{found['shape']}, {found['layers']} layers, seed {found['seed']}: {found['weights']:,} weights\n"
        f"compiled and written in {found['wall_seconds']:.1f} s "
        f"(processor {found['processor_seconds']:.1f} s), peak memory {found['peak_bytes'] / 2**30:.2f} GiB, "
        f"file {found['file_bytes']:,} bytes\n"
        f"bits per {kind} weight {bits:.4f}\n"
        + table([(name, f"{size:,}") for name, size in found["bytes"].items() if size], ("kind", "bytes"))
    )


def main() -> int:
    """Command line; exit code 1 where a ternary weight takes more than `MOST_BITS`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shapes", nargs="*", default=["bitnet-0.73b"], metavar="SHAPE[:LAYERS]")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--no-vectors", action="store_true")
    parser.add_argument("--here", action="store_true", help="one shape, in this process, as JSON")
    args = parser.parse_args()
    high = False
    for text in args.shapes:
        name, _, layers = text.partition(":")
        if args.here:
            torch.set_num_threads(1)
            count = int(layers) if layers else None
            print(json.dumps(measure(name, count, args.seed, not args.no_vectors, roomy(SHAPES[name]))))
            continue
        command = [sys.executable, "-m", "bench.shapes", text, "--seed", str(args.seed), "--here"]
        command += ["--no-vectors"] * args.no_vectors
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout)
        print(report(found), end="\n\n", flush=True)
        high |= (found["bits_per_ternary_weight"] or 0) > MOST_BITS
    return int(high)


if __name__ == "__main__":
    sys.exit(main())
