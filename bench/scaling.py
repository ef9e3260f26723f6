"""How decode scales: `python -m bench.scaling` (RTL; plots in docs/scaling.svg).

Cycles of a decode token against layers, width, context (kv260) and bus bytes (one shape on four machines,
each with engines that suit its bus). Every run is equal to the interpreter. A line in each plot is what
memory alone allows: the bytes that cannot be done without over the memory's ceiling.
"""

import argparse
import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from compiler.compile import compile_model
from hw.artefact import Artefact
from hw.machine import MACHINES
from models.seeded import SeededModel
from models.shapes import SHAPES, Shape, numbered_tokenizer
from sim.backend import Request
from sim.ddr4 import DDR4_2400
from sim.dram import dram_ceiling
from sim.entries import Entry
from trine.compile import calibrate_shape
from trine.output import table, write_json

from .paired import Paired, useful_bytes
from .shipped import ROOT

PLOT = ROOT / "docs" / "scaling.svg"
#: A model of layers of the 0.73B shape with a small vocabulary, so that the layers are what counts.
BASE = dataclasses.replace(SHAPES["bitnet-0.73b"], name="layers of 0.73b", layers=24, vocab=2048)
#: A model that all machines take.
COMMON = Shape("d 256", dim=256, hidden=512, layers=2, heads=4, kv_heads=2, vocab=512, context=512)
LAYERS, WIDTHS, CONTEXTS = (1, 2, 4, 8), (384, 768, 1536), (64, 256, 512, 1023)
BUSES = ("narrow", "ci", "wide", "kv260")


@dataclass(frozen=True)
class Point:
    """One run. x: what varies."""

    x: int
    machine: str
    shape: Shape
    layers: int
    context: int


def series() -> dict[str, list[Point]]:
    """Runs by what varies."""

    def width(dim: int) -> Shape:
        share = dim / BASE.dim
        return dataclasses.replace(
            BASE, name=f"d {dim}", dim=dim, hidden=round(BASE.hidden * share), heads=dim // 96,
            kv_heads=dim // 96,
        )  # fmt: skip

    return {
        "layers": [Point(n, "kv260", BASE, n, 64) for n in LAYERS],
        "width": [Point(d, "kv260", width(d), 2, 64) for d in WIDTHS],
        "context": [Point(n, "kv260", BASE, 2, n) for n in CONTEXTS],
        "bus bytes a cycle": [Point(MACHINES[m].bus_bytes, m, COMMON, 2, 64) for m in BUSES],
    }


def compiled(point: Point) -> Artefact:
    """The artefact of a run."""
    model = SeededModel(point.shape, 7, point.layers)
    tokenizer = numbered_tokenizer(model.config).to_bytes()
    return compile_model(calibrate_shape(model), tokenizer, MACHINES[point.machine], False)


def measured(point: Point) -> tuple[int, float]:
    """Cycles of a token on RTL, and those that memory alone would take."""
    machine, artefact = MACHINES[point.machine], compiled(point)
    with Paired(artefact, DDR4_2400) as pair:
        pair.restore(0, point.context - 1)
        run = pair.run(Request([Entry(1, point.context - 1)]))
        pair.end(point.context - 1)
    ceiling = dram_ceiling(DDR4_2400.at(machine), machine.bus_bytes)
    return run.cycles, useful_bytes(artefact, [point.context]) / (ceiling * machine.bus_bytes)


def plot(found: dict[str, list[tuple[int, int, float]]], path: Path) -> None:
    """All series as one SVG file."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "trine"  # the same file for the same figures
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(found), figsize=(3.2 * len(found), 3), layout="constrained")
    for axis, (name, points) in zip(axes, found.items(), strict=True):
        x = [point[0] for point in points]
        axis.plot(x, [point[2] for point in points], "--", color="0.55", label="memory alone")
        axis.plot(x, [point[1] for point in points], "o-", color="tab:blue", label="RTL")
        axis.set(xlabel=name, ylabel="cycles per token")
        if name.startswith("bus"):
            axis.set(xscale="log", yscale="log", xlim=(3, 90))
            axis.set_xticks(x, [str(one) for one in x])
            axis.minorticks_off()
        else:
            axis.set(ylim=(0, None), xlim=(0, None))
    axes[0].legend(frameon=False)
    partial = path.with_suffix(".part.svg")
    figure.savefig(partial, metadata={"Date": None})
    partial.replace(path)


def main() -> int:
    """Run, print, plot."""
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=__doc__)
    parser.add_argument("--only", choices=list(series()), action="append", help="these series (default: all)")
    parser.add_argument("--plot", type=Path, default=PLOT, help="default: docs/scaling.svg")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = {name: points for name, points in series().items() if name in (options.only or series())}
    found: dict[str, list[tuple[int, int, float]]] = {}
    rows = []
    with tqdm(total=sum(map(len, chosen.values())), desc="scaling", unit="run", disable=None) as bar:
        for name, points in chosen.items():
            for point in points:
                cycles, least = measured(point)
                found.setdefault(name, []).append((point.x, cycles, least))
                rows.append((name, point.x, point.machine, point.shape.name, point.layers, point.context,
                             f"{cycles:,}", f"{least:,.0f}", f"{least / cycles:.3f}"))  # fmt: skip
                bar.update()
    print(table(rows, ("varies", "is", "machine", "shape", "layers", "context", "cycles per token",
                       "memory alone", "ratio")))  # fmt: skip
    if len(found) > 1:
        plot(found, options.plot)
    write_json(options.json, {name: points for name, points in found.items()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
