"""Synthesis with Yosys, and what it used, by the counting rule of the study. Kept by content."""

import hashlib
import importlib.metadata
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib import wiring

from sim.verilate import cache_directory

__all__ = ["SCRIPTS", "Used", "kept", "netlist", "synthesise"]

#: Without pads and clock buffers: a part of a design.
SCRIPTS = {
    "ecp5": "synth_ecp5 -top top -run begin:map_luts; rename -hide; synth_ecp5 -top top -run map_luts:",
    "xcup": "synth_xilinx -family xcup -top top -noiopad -noclkbuf -flatten",
}
#: pyosys 0.70 stops at two wires of one name when it takes back ABC's netlist, with some designs: names are
#: hidden half-way, for ECP5 always.
_HIDDEN = "{0} -run begin:map_luts\nrename -hide\n{0} -run map_luts:"
_YOSYS = "import sys; from pyosys import libyosys as y; y.run_pass('script ' + sys.argv[1], y.Design())"

#: LUTs of each cell. ECP5: a CCU2C is two LUTs, the memory of a TRELLIS_DPR16X4 lies in two and its slice's
#: write port takes two more. UltraScale+: cells of distributed memory, by the LUTs of their bits.
_LUTS = {
    "ecp5": {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 4},
    "xcup": {**{f"LUT{n}": 1 for n in range(1, 7)}, "LUT6_2": 1, "INV": 1,
             "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "RAM256X1D": 8, "RAM32M": 4, "RAM64M": 4,
             "RAM32M16": 8, "RAM64M8": 8, "RAM32X16DR8": 8, "RAM64X8SW": 8,
             "SRL16E": 1, "SRLC32E": 1},
}  # fmt: skip
_MEMORY_CELLS = {"ecp5": ("TRELLIS_DPR16X4",), "xcup": ("RAM32", "RAM64", "RAM128", "RAM256")}


@dataclass(frozen=True)
class Used:
    """Cells of a netlist.

    Members
    -------
    lut: by the counting rule, those of carry chains and distributed memory included.
    lutram: LUTs of distributed memory among them.
    carry: CCU2C; CARRY4 (Yosys, two in a CARRY8) and CARRY8 (ours).
    ff: flip-flops.
    bram: 18 Kbit blocks (DP16KD, RAMB18; a RAMB36 is two).
    uram, dsp: URAM288, DSP48E2 or MULT18X18D.
    """

    lut: int
    lutram: int
    carry: int
    ff: int
    bram: int
    uram: int
    dsp: int

    def __sub__(self, other: "Used") -> "Used":
        return Used(**{name: value - getattr(other, name) for name, value in asdict(self).items()})


def _count(cells: dict[str, int], family: str) -> Used:
    luts = _LUTS[family]
    known = (*luts, "CARRY4", "CARRY8", "TRELLIS_FF", "FDRE", "FDSE", "FDCE", "FDPE", "DP16KD", "PDPW16KD",
             "URAM288", "RAMB18E2", "RAMB36E2", "DSP48E2", "MULT18X18D", "PFUMX", "L6MUX21",
             "MUXF7", "MUXF8", "MUXF9", "GND", "VCC", "BUFG", "$scopeinfo")  # fmt: skip
    if unknown := sorted(set(cells) - set(known)):
        raise ValueError(f"cells: wanted those of {family}, found {', '.join(unknown)}")
    memory = sum(luts[c] * n for c, n in cells.items() if c in luts and c.startswith(_MEMORY_CELLS[family]))
    return Used(
        lut=sum(luts[c] * n for c, n in cells.items() if c in luts),
        lutram=memory,
        carry=sum(cells.get(name, 0) for name in ("CCU2C", "CARRY4", "CARRY8")),
        ff=sum(n for c, n in cells.items() if c == "TRELLIS_FF" or c.startswith("FD")),
        bram=sum(cells.get(c, 0) for c in ("DP16KD", "PDPW16KD", "RAMB18E2")) + 2 * cells.get("RAMB36E2", 0),
        uram=cells.get("URAM288", 0),
        dsp=cells.get("DSP48E2", 0) + cells.get("MULT18X18D", 0),
    )


def _collisions_undefined(text: str) -> str:
    """Read ports of memories with ``no_rw_check``: any answer to a read of what is being written.

    Yosys obeys the attribute where it makes a port synchronous itself; Amaranth's ports are synchronous, and
    say "the old word", which ECP5's blocks do not give: comparators and registers would be added for it.
    """
    free = set(re.findall(r"attribute \\no_rw_check 1\n(?:\s*attribute .*\n)*\s*memory .* (\\\S+)\n", text))
    head, *cells = text.split("cell $memrd_v2 ")
    for i, cell in enumerate(cells):
        found = re.search(r'parameter \\MEMID "\\(\\\S+)"', cell)
        if found and found[1] in free and "parameter \\CLK_ENABLE 1" in cell.split("end", 1)[0]:
            cells[i] = re.sub(
                r"(parameter \\COLLISION_X_MASK (\d+)')0+\b", lambda m: m[1] + "1" * int(m[2]), cell, count=1
            )
    return "cell $memrd_v2 ".join([head, *cells])


def _directory(dut: wiring.Component, family: str) -> tuple[Path, str]:
    text = _collisions_undefined(rtlil.convert(dut, emit_src=False))
    versions = [importlib.metadata.version(name) for name in ("pyosys", "amaranth")]
    key = hashlib.sha256("\0".join((text, SCRIPTS[family], *versions)).encode()).hexdigest()
    return cache_directory() / "synthesis" / key[:32], text


def kept(dut: wiring.Component, family: str) -> bool:
    """Whether ``dut`` was synthesised before."""
    return (_directory(dut, family)[0] / "cells.json").exists()


def synthesise(dut: wiring.Component, family: str) -> Used:
    """What ``dut`` uses; from the cache, if the same was synthesised before.

    Raises
    ------
    ValueError
        If the netlist has cells that the counting rule does not name.
    RuntimeError
        If Yosys fails; with its last lines.
    """
    return _count(json.loads((netlist(dut, family) / "cells.json").read_text()), family)


def _yosys(work: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", _YOSYS, str(work / "run.ys")],
                          capture_output=True, text=True, check=False)  # fmt: skip


def netlist(dut: wiring.Component, family: str) -> Path:
    """The directory with ``cells.json``, the number of cells by type, and ``netlist.json``."""
    directory, text = _directory(dut, family)
    if (directory / "cells.json").exists():
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent) as name:
        work = Path(name)
        (work / "top.il").write_text(text)
        (work / "run.ys").write_text(
            f"read_rtlil {work}/top.il\n{SCRIPTS[family]}\ntee -q -o {work}/stat.json stat -json\n"
            f"write_json {work}/netlist.json\n"
        )
        done = _yosys(work)
        if "count_id(wire->name)" in done.stdout + done.stderr:
            script = (work / "run.ys").read_text()
            (work / "run.ys").write_text(script.replace(SCRIPTS[family], _HIDDEN.format(SCRIPTS[family])))
            done = _yosys(work)
        if done.returncode:
            raise RuntimeError(f"yosys: {(done.stdout + done.stderr)[-1500:]}")
        stat = json.loads((work / "stat.json").read_text())
        cells = next(iter(stat["modules"].values()))["num_cells_by_type"]
        made = directory.parent / f"{work.name}.made"
        made.mkdir()
        (made / "netlist.json").write_bytes((work / "netlist.json").read_bytes())
        (made / "cells.json").write_text(json.dumps(cells, indent=1) + "\n")
        try:
            made.rename(directory)
        except OSError:  # another run was first
            for file in made.iterdir():
                file.unlink()
            made.rmdir()
    return directory
