"""A design after synthesis, as Verilog that a simulator takes: cells of the FPGA with models put in.

Modules are synthesised as by `bench.netlists`, each with what it instantiates as black boxes. Then Yosys
puts the models of the cells in their places (`flatten`; nothing is optimised but names and unused wires).
Block RAMs and multipliers stay instances of models of ours: Yosys has none. Registers move into multipliers
first, as in a bitstream (`boards.flow.dsp_registers`).
"""

import gzip
import inspect
import json
import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyosys
from tqdm import tqdm

from boards.flow import dsp_registers
from boards.flow.dsp_registers import pack_registers
from hw.files import write_whole
from sim.verilate import cache_directory, digest

from .netlists import SCRIPTS
from .verilog_text import lighten, modules, stub

__all__ = ["OURS", "YOSYS_MODELS", "Gates", "gates"]

_SHARE = Path(pyosys.__file__).parent / "share" / "ecp5"
_CELLS = Path(__file__).resolve().parent.parent / "tests" / "hw" / "cells"
#: Models that come with Yosys, the cells that it has no model for, and ours.
YOSYS_MODELS, _BOXES = _SHARE / "cells_sim.v", _SHARE / "cells_bb.v"
OURS = {"DP16KD": _CELLS / "dp16kd.v", "MULT18X18D": _CELLS / "mult18x18d.v"}
_MOVED = inspect.getsource(dsp_registers)
_FAMILY, _ROOT = "ecp5", "gates_root"
_RENAME = "rename -hide w:*"
_YOSYS = "import sys; from pyosys import libyosys as y; y.run_pass('script ' + sys.argv[1], y.Design())"
#: Characters of Verilog that one process takes, unless one module has more.
_BATCH = 60_000


@dataclass(frozen=True)
class Gates:
    """Verilog of all modules and of our models; how often each cell, and each module, is in the design."""

    verilog: str
    cells: dict[str, int]
    instances: dict[str, int]


def _batches(sizes: dict[str, int]) -> list[list[str]]:
    """Names grouped so that no group of several has more than `_BATCH`; the largest first."""
    out: list[list[str]] = []
    for name in sorted(sizes, key=lambda name: -sizes[name]):
        for names in out:
            if sum(sizes[one] for one in (*names, name)) <= _BATCH:
                names.append(name)
                break
        else:
            out.append([name])
    return out


def _run(texts: dict[str, str], stubs: list[str]) -> dict[str, dict[str, Any]]:
    """Gates and cells of some modules, by their names in Verilog. RuntimeError with Yosys' last words."""
    names = " ".join(texts)
    inside = "".join(f"(* keep *) {name} i{i} ();\n" for i, name in enumerate(texts))
    root = f"module {_ROOT}();\n{inside}endmodule\n"
    keep = "".join(f"setattr -mod -set keep_hierarchy 1 {name}\n" for name in texts)
    with TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "design.v").write_text("".join([*texts.values(), *stubs, root]))
        (work / "around.v").write_text("".join([*stubs, root]))

        def run(script: str) -> None:
            (work / "run.ys").write_text(script)
            command = [sys.executable, "-c", _YOSYS, "run.ys"]
            done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"synthesis of {names}: {(done.stdout + done.stderr)[-2000:]}")

        run(
            f"read_verilog -sv design.v\n{_RENAME}\n{SCRIPTS[_FAMILY].format(top=_ROOT)}\n"
            f"select {names}\nwrite_json -selected mapped.json\n"
        )
        netlists = json.loads((work / "mapped.json").read_text())["modules"]
        mapped = {name: netlists[name.strip().lstrip("\\")] for name in texts}
        for netlist in mapped.values():
            pack_registers(netlist)
        packed = {"modules": {name.strip().lstrip("\\"): netlist for name, netlist in mapped.items()}}
        (work / "packed.json").write_text(json.dumps(packed))
        run(
            f"read_verilog -lib {_BOXES}\nread_verilog -overwrite {YOSYS_MODELS}\n"
            f"read_json packed.json\nread_verilog around.v\nhierarchy -check -top {_ROOT}\n{keep}"
            f"proc\nflatten\n{_RENAME}\nopt_clean\nselect {names}\nwrite_verilog -noattr -selected gates.v\n"
        )
        found = modules((work / "gates.v").read_text())
    return {
        name: {"gates": found[name.strip()],
               "cells": Counter(cell["type"] for cell in netlist["cells"].values())}
        for name, netlist in mapped.items()
    }  # fmt: skip


def gates(verilog: str, top: str, workers: int = 1) -> Gates:
    """The design's gates for the ECP5; modules that were mapped before are read from the cache."""
    text, inside = lighten(verilog, top)
    texts = {name.lstrip("\\"): module for name, module in modules(text).items()}
    stubs = {name: stub(module) for name, module in texts.items()}
    places: dict[str, Path] = {}
    for name, module in texts.items():
        used = [stubs[child] for child in sorted({child for _, child in inside[name]})]
        key = digest("gates 3", _MOVED, module, *used, SCRIPTS[_FAMILY], metadata.version("pyosys"))[:32]
        places[name] = cache_directory() / "gates" / f"{key}.json.gz"

    def run(names: list[str]) -> None:
        children = {child for name in names for _, child in inside[name]} - set(names)
        written = {name: texts[name].split(maxsplit=2)[1] + " " for name in names}
        found = _run({written[name]: texts[name] for name in names}, [stubs[c] for c in sorted(children)])
        for name in names:
            places[name].parent.mkdir(parents=True, exist_ok=True)
            write_whole(places[name], gzip.compress(json.dumps(found[written[name]]).encode(), 3))

    batches = _batches({name: len(texts[name]) for name, place in places.items() if not place.exists()})
    with ThreadPoolExecutor(workers) as pool:
        bar = tqdm(pool.map(run, batches), total=len(batches), desc="synthesis", unit="batch", disable=None)
        for _ in bar:
            pass
    found = {name: json.loads(gzip.decompress(place.read_bytes())) for name, place in places.items()}

    instances = dict.fromkeys(texts, 0)

    def count(name: str) -> None:
        instances[name] += 1
        for _, child in inside[name]:
            count(child)

    count(top)
    cells: dict[str, int] = {}
    for name, one in found.items():
        for cell, number in one["cells"].items():
            if cell.lstrip("\\") not in texts:
                cells[cell] = cells.get(cell, 0) + number * instances[name]
    # A module that is there several times is simulated as one: code for each would be long.
    bodies = [
        re.sub(r"^(module [^;]*;)", r"\1 /*verilator no_inline_module*/", one["gates"], count=1, flags=re.M)
        if instances[name] > 1 else one["gates"]
        for name, one in found.items()
    ]  # fmt: skip
    models = [path.read_text() for path in OURS.values()]
    return Gates("".join([*bodies, *models]), cells, instances)
