"""Yosys synthesis of one Verilog text for one FPGA family, with cell counts by module, cached by content."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

from sim.verilate import cache_directory, digest

#: Synthesis script of each family; the hierarchy stays, so that counts are by component.
SCRIPTS = {
    "ecp5": "synth_ecp5 -noflatten -top {top}",
    "xcup": "synth_xilinx -family xcup -noiopad -noclkbuf -top {top}",
}
#: Without it Yosys 0.70 fails an assertion of its own (`count_id`) on some wires of Amaranth's.
_RENAME = "rename -hide w:*"
_YOSYS = "import sys; from pyosys import libyosys as y; y.run_pass('script ' + sys.argv[1], y.Design())"


@dataclass(frozen=True)
class Resources:
    """What a design takes, in the units of its family's data sheet.

    lut: ecp5 LUT4 (carry chains take 2, 16 x 4 distributed RAM 4 of them, with 2 more for its write side in
        placement, not counted); xcup LUT6, those used as RAM or shift registers included.
    ff: flip-flops. ram: LUTs of `lut` that are distributed RAM or shift registers.
    block: block RAMs (ecp5 EBR of 18 Kb; xcup RAMB36, a RAMB18 counts half). ultra: URAM288. dsp: multipliers
        (ecp5 MULT18X18D, xcup DSP48E2).
    """

    lut: float = 0
    ff: float = 0
    ram: float = 0
    block: float = 0
    ultra: float = 0
    dsp: float = 0

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(*(a + b for a, b in zip(self.values(), other.values(), strict=True)))

    def values(self) -> tuple[float, ...]:
        """The numbers in order."""
        return (self.lut, self.ff, self.ram, self.block, self.ultra, self.dsp)


#: What a cell takes: names begin so; the longest match counts.
CELLS: dict[str, dict[str, Resources]] = {
    "ecp5": {
        "LUT4": Resources(lut=1),
        "CCU2C": Resources(lut=2),
        "TRELLIS_DPR16X4": Resources(lut=4, ram=4),
        "TRELLIS_FF": Resources(ff=1),
        "DP16KD": Resources(block=1),
        "PDPW16KD": Resources(block=1),
        "MULT18X18D": Resources(dsp=1),
    },
    "xcup": {
        **{f"LUT{n}": Resources(lut=1) for n in range(1, 7)},
        "FD": Resources(ff=1),
        "SRL16E": Resources(lut=1, ram=1),
        "SRLC32E": Resources(lut=1, ram=1),
        "RAM32X1": Resources(lut=1, ram=1),
        "RAM32X1D": Resources(lut=2, ram=2),
        "RAM64X1D": Resources(lut=2, ram=2),
        "RAM64X1S": Resources(lut=1, ram=1),
        "RAM128X1D": Resources(lut=4, ram=4),
        "RAM128X1S": Resources(lut=2, ram=2),
        "RAM256X1S": Resources(lut=4, ram=4),
        "RAM256X1D": Resources(lut=8, ram=8),
        "RAM512X1S": Resources(lut=8, ram=8),
        "RAM32M16": Resources(lut=8, ram=8),
        "RAM32M": Resources(lut=4, ram=4),
        "RAM64M8": Resources(lut=8, ram=8),
        "RAM64M": Resources(lut=4, ram=4),
        "RAMB18": Resources(block=0.5),
        "RAMB36": Resources(block=1),
        "URAM288": Resources(ultra=1),
        "DSP48E2": Resources(dsp=1),
    },
}
#: Cells that take nothing of the above: carry chains beside their LUTs, multiplexers, inverters, buffers.
FREE = {"ecp5": ("PFUMX", "L6MUX21", "$scopeinfo"), "xcup": ("CARRY", "MUXF", "INV", "$scopeinfo", "BUF")}


def synthesise(verilog: str, top: str, family: str) -> dict[str, dict[str, int]]:
    """Cells by module as `stat -json` counts them, instances of other modules included.

    A run is kept by the hash of text, script and Yosys version. Raises RuntimeError with Yosys' last words.
    """
    script = SCRIPTS[family].format(top=top)
    key = digest(verilog, script, metadata.version("pyosys"))[:32]
    kept = cache_directory() / "synthesis" / f"{key}.json"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory() as folder:
            work = Path(folder)
            (work / "design.v").write_text(verilog)
            (work / "run.ys").write_text(
                f"read_verilog -sv design.v\n{_RENAME}\n{script}\ntee -q -o stat.json stat -json\n"
            )
            done = subprocess.run(
                [sys.executable, "-c", _YOSYS, "run.ys"],
                cwd=work,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise RuntimeError(f"synthesis of {top} for {family}: {(done.stderr or done.stdout)[-2000:]}")
            partial = kept.with_suffix(f".{digest(str(work))[:8]}")
            partial.write_text((work / "stat.json").read_text())
            partial.replace(kept)
    modules = json.loads(kept.read_text())["modules"]
    return {name.lstrip("\\"): dict(found["num_cells_by_type"]) for name, found in modules.items()}


def resources(cells: dict[str, int], family: str) -> Resources:
    """What primitive cells take. Raises ValueError for a cell that no table knows."""
    known, total = CELLS[family], Resources()
    for cell, count in cells.items():
        match = max((name for name in known if cell.startswith(name)), key=len, default=None)
        if match is None:
            if not cell.startswith(FREE[family]):
                raise ValueError(f"resources: wanted a cell of {family}, found {cell!r}; add it to CELLS")
            continue
        total += Resources(*(count * value for value in known[match].values()))
    return total


def by_instance(modules: dict[str, dict[str, int]], family: str, top: str) -> dict[str, Resources]:
    """Resources of each module with all inside it, by module name (Amaranth names modules by their path)."""
    found: dict[str, Resources] = {}

    def total(name: str) -> Resources:
        if name not in found:
            inside = Counter({cell: n for cell, n in modules[name].items() if cell.lstrip("\\") in modules})
            own = {cell: n for cell, n in modules[name].items() if cell not in inside}
            result = resources(own, family)
            for cell, n in inside.items():
                for _ in range(n):
                    result += total(cell.lstrip("\\"))
            found[name] = result
        return found[name]

    total(top)
    return found
