"""The files of a project: the machine's Verilog, and texts written whole."""

import json
from collections.abc import Mapping
from pathlib import Path

from hw.files import write_whole
from hw.machine import MachineConfig

from .axi_top import OVERLAY

__all__ = ["machine_verilog", "with_json", "write_project"]


def machine_verilog(machine: MachineConfig) -> str:
    """Verilog of the machine as module `overlay`, from the cache where it is there."""
    from sim.verilate import overlay_verilog

    text = overlay_verilog(machine)
    if f"module {OVERLAY}(" not in text:
        raise RuntimeError(f"the machine's Verilog has no module {OVERLAY!r}")
    return text


def with_json(values: Mapping[str, object]) -> str:
    """The text of a JSON file."""
    return json.dumps(values, indent=2) + "\n"


def write_project(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write the files, by their path inside the folder; their paths. OSError where one can't be written."""
    written = []
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode())
        written.append(path)
    return written
