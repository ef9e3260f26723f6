"""Yosys synthesis of a Verilog design, module by module, each kept by its content.

A module is mapped with what it instantiates as black boxes, so a change costs the modules it touches. Nothing
is optimised across the borders of modules.
"""

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tqdm import tqdm

from hw.machine import MachineConfig
from sim.verilate import cache_directory, digest, overlay_verilog
from trine.output import note

from .verilog_text import lighten, modules, stub

__all__ = ["Design", "machine_verilog", "synthesise"]

#: Synthesis script of each family.
SCRIPTS = {
    "ecp5": "synth_ecp5 -noflatten -top {top}",
    "xcup": "synth_xilinx -family xcup -uram -noiopad -noclkbuf -top {top}",
}
#: Without it Yosys 0.70 fails an assertion of its own (`count_id`) on some wires of Amaranth's.
_RENAME = "rename -hide w:*"
_YOSYS = "import sys; from pyosys import libyosys as y; y.run_pass('script ' + sys.argv[1], y.Design())"
#: Characters of Verilog that one process takes, unless one module has more.
_BATCH = 90_000
_ROOT = "netlists_root"


@dataclass(frozen=True)
class Design:
    """A mapped design: its modules' netlists as Yosys writes them (JSON), and who is in whom.

    netlists: {"ports": .., "cells": .., "netnames": ..} by module; cells of other modules included.
    inside: (instance, module) in each module.
    """

    top: str
    netlists: dict[str, dict[str, Any]]
    inside: dict[str, list[tuple[str, str]]]

    def cells(self) -> dict[str, dict[str, int]]:
        """How many primitive cells of each kind each module has, without those inside its instances."""
        found: dict[str, dict[str, int]] = {}
        for name, netlist in self.netlists.items():
            counts: dict[str, int] = {}
            for cell in netlist["cells"].values():
                if cell["type"] not in self.netlists:
                    counts[cell["type"]] = counts.get(cell["type"], 0) + 1
            found[name] = counts
        return found


def machine_verilog(machine: MachineConfig) -> str:
    """Verilog of a machine as `synthesise` takes it. The cells that `hw` instantiates are UltraScale+'s, so
    only machines for it have them."""
    return overlay_verilog(machine, note, primitives=machine.family == "xcup")


def _batches(sizes: dict[str, int]) -> list[list[str]]:
    """Names grouped so that no group of several has more than `_BATCH`; the largest first."""
    out: list[tuple[int, list[str]]] = []
    for name in sorted(sizes, key=lambda name: -sizes[name]):
        for i, (size, names) in enumerate(out):
            if size + sizes[name] <= _BATCH:
                out[i] = (size + sizes[name], [*names, name])
                break
        else:
            out.append((sizes[name], [name]))
    return [names for _, names in out]


def _run(names: list[str], texts: dict[str, str], stubs: list[str], family: str) -> dict[str, Any]:
    """Netlists of some modules. Raises RuntimeError with Yosys' last words."""
    cells = "".join(f"(* keep *) {name} i{i} ();\n" for i, name in enumerate(names))
    verilog = "".join([*(texts[name] for name in names), *stubs, f"module {_ROOT}();\n{cells}endmodule\n"])
    script = SCRIPTS[family].format(top=_ROOT)
    plain = " ".join(name for name in names)
    with TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "design.v").write_text(verilog)
        (work / "run.ys").write_text(
            f"read_verilog -sv design.v\n{_RENAME}\n{script}\n"
            f"select {plain}\nwrite_json -selected netlist.json\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", _YOSYS, "run.ys"], cwd=work, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"synthesis of {plain} for {family}: {(done.stderr + done.stdout)[-2000:]}")
        found = json.loads((work / "netlist.json").read_text())["modules"]
    wanted = {name.strip().lstrip("\\") for name in names}
    return {name: netlist for name, netlist in found.items() if name in wanted}


def synthesise(verilog: str, top: str, family: str, workers: int = 2) -> Design:
    """The design mapped for a family; modules that were mapped before are read from the cache."""
    text, inside = lighten(verilog, top)
    texts = {name.lstrip("\\"): module for name, module in modules(text).items()}
    stubs = {name: stub(module) for name, module in texts.items()}
    places: dict[str, Path] = {}
    for name, module in texts.items():
        used = [stubs[child] for child in sorted({child for _, child in inside[name]})]
        key = digest(module, *used, SCRIPTS[family], metadata.version("pyosys"))[:32]
        places[name] = cache_directory() / "synthesis" / f"{key}.json.gz"
    missing = {name: len(texts[name]) for name, place in places.items() if not place.exists()}

    def run(names: list[str]) -> None:
        children = {child for name in names for _, child in inside[name]} - set(names)
        written = {name: _verilog_name(texts[name]) for name in names}
        by_name = {written[name]: texts[name] for name in names}
        found = _run(list(by_name), by_name, [stubs[child] for child in sorted(children)], family)
        for name in names:
            place = places[name]
            place.parent.mkdir(parents=True, exist_ok=True)
            partial = place.with_suffix(f".{digest(str(names))[:8]}")
            partial.write_bytes(gzip.compress(json.dumps(_slim(found[name])).encode(), 3))
            partial.replace(place)

    with ThreadPoolExecutor(workers) as pool:
        batches = _batches(missing)
        for _ in tqdm(
            pool.map(run, batches), total=len(batches), desc="synthesis", unit="batch", disable=None
        ):
            pass
    netlists = {name: json.loads(gzip.decompress(place.read_bytes())) for name, place in places.items()}
    return Design(top, netlists, inside)


def _verilog_name(text: str) -> str:
    """A module's name as its text has it, with what ends an escaped name."""
    return text.split(maxsplit=2)[1] + " "


def _slim(netlist: dict[str, Any]) -> dict[str, Any]:
    """Ports, cells (type, directions, parameters that time depends on, connections)."""

    def cells() -> Iterator[tuple[str, dict[str, Any]]]:
        for name, cell in netlist["cells"].items():
            if cell["type"].startswith("$"):
                continue
            table = ("INIT",) if cell["type"] == "LUT6_2" else ()
            keep = {
                k: v
                for k, v in cell["parameters"].items()
                if k.endswith("REG") or k.startswith(("OREG", *table))
            }
            yield (
                name,
                {
                    "type": cell["type"],
                    "parameters": keep,
                    "port_directions": cell["port_directions"],
                    "connections": cell["connections"],
                },
            )

    return {"ports": netlist["ports"], "cells": dict(cells())}
