"""A design to its bitstream: synthesis once, placing and routing with several seeds, the best one kept.

A build's identity is the hash of the design's Verilog, its constraints, options and the tools' versions.
Builds are kept by it under `cache`, each with its logs: ``synthesis/KEY`` (netlist) and ``KEY`` (one folder a
seed). A design, constraint or tool that changed is another build; the same one is read, not made again.
"""

import hashlib
import inspect
import json
import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from boards.board import Board, BoardError, PinnedDesign
from boards.fit import check_capacity

from . import block_sites, dsp_registers
from .components import Scopes, by_component, worst_paths
from .constraints import constraints
from .tools import YOSYS, Flow, Stopped, ended_by_signals, flow_of, run, versions

__all__ = ["TOP", "Build", "ClockError", "Options", "build_bitstream", "identity"]

#: The module of a board's design.
TOP = "top"
#: Worst paths that an unmet clock names.
_PATHS = 5
#: Called with one line for each stage of a build.
Progress = Callable[[str], None]


class ClockError(BoardError):
    """No seed met the clock; the text names the slowest paths by component."""

    def __init__(self, text: str, build: "Build"):
        super().__init__(text)
        self.build = build


@dataclass(frozen=True)
class Options:
    """What a build tries: clock wanted in MHz, seeds in order, whether all of them or up to the first that
    meets the clock, placements at a time."""

    clock_mhz: float
    seeds: tuple[int, ...] = (1, 2)
    all_seeds: bool = False
    jobs: int = 1


@dataclass(frozen=True)
class Build:
    """What came of it: the bitstream in the cache, its seed and clock, resources by component (path to
    `Capacity`'s fields, "" the whole), slowest paths, fmax of each seed tried, seconds of each stage."""

    identity: str
    bitstream: Path
    seed: int
    fmax_mhz: float
    clock_mhz: float
    components: dict[str, dict[str, int]]
    placed: dict[str, dict[str, int]]
    paths: list[dict[str, Any]]
    seeds: dict[int, float]
    seconds: dict[str, float]
    tools: dict[str, str]

    @property
    def margin(self) -> float:
        """By how much of the wanted clock the design is faster; negative where it is missed."""
        return self.fmax_mhz / self.clock_mhz - 1

    @property
    def met(self) -> bool:
        """Whether the clock is met."""
        return self.fmax_mhz >= self.clock_mhz


def identity(*parts: object) -> str:
    """SHA-256 over texts, each preceded by its length; 32 hexadecimal digits."""
    total = hashlib.sha256()
    for part in parts:
        data = str(part).encode()
        total.update(f"{len(data)}:".encode() + data)
    return total.hexdigest()[:32]


def build_bitstream(
    board: Board,
    design: PinnedDesign,
    verilog: str,
    name: str,
    options: Options,
    cache: Path,
    progress: Progress = lambda _: None,
) -> Build:
    """The best build of a design whose Verilog has the module `TOP`.

    name: of the machine, for messages. ClockError where no seed meets the clock, BoardError where the device
    is too small or a tool fails. SIGTERM or SIGHUP end it with its programs (`SystemExit`).
    """
    with ended_by_signals():
        return _build(board, design, verilog, name, options, cache, progress)


def _build(
    board: Board, design: PinnedDesign, verilog: str, name: str, options: Options, cache: Path,
    progress: Progress,
) -> Build:  # fmt: skip
    flow = flow_of(board)
    tools = versions(flow)
    pins = constraints(design, flow.constraints)
    netlist = _synthesise(flow, verilog, tools, cache, progress)
    ways = [inspect.getsource(module) for module in (dsp_registers, block_sites)]
    key = identity(verilog, TOP, flow.synthesis, *ways, pins, _arguments(board, options, 0), tools)
    cells = json.loads((netlist / "netlist.json").read_text())["modules"][TOP]["cells"]
    scopes = Scopes(cells, TOP)
    components = by_component(cells, board.toolchain, scopes)
    check_capacity(board, name, components[""])
    tried = _seeds(board, flow, pins, netlist, options, cache / key, progress)
    best = max(tried, key=lambda seed: tried[seed]["fmax_mhz"])
    found = tried[best]
    folder = cache / key / f"seed_{best}"
    report = json.loads((folder / "report.json").read_text())
    build = Build(
        identity=key,
        bitstream=folder / f"design.{flow.bitstream}",
        seed=best,
        fmax_mhz=found["fmax_mhz"],
        clock_mhz=options.clock_mhz,
        components=components,
        placed={name: dict(used) for name, used in report.get("utilization", {}).items()},
        paths=worst_paths(report, scopes)[:_PATHS],
        seeds={seed: one["fmax_mhz"] for seed, one in tried.items()},
        seconds={"synthesis": json.loads((netlist / "done.json").read_text())["seconds"]}
        | {f"seed {seed}": one["seconds"] for seed, one in tried.items()},
        tools=tools,
    )
    if not build.met:
        raise ClockError(_missed(board, build), build)
    if not build.bitstream.exists():
        _pack(board, flow, folder)
    return build


def _seeds(
    board: Board, flow: Flow, pins: str, netlist: Path, options: Options, folder: Path,
    progress: Progress,
) -> dict[int, dict[str, Any]]:  # fmt: skip
    """What `_place` found for each seed tried, `jobs` at a time; those still running when one meets the clock
    are ended."""
    stop, tried = threading.Event(), {}
    with ThreadPoolExecutor(options.jobs) as pool:

        def place(seed: int) -> dict[str, Any]:
            if stop.is_set():
                raise Stopped
            found = _place(board, flow, pins, netlist, options, seed, folder, progress, stop)
            if found["fmax_mhz"] >= options.clock_mhz and not options.all_seeds:
                stop.set()
            return found

        running = {pool.submit(place, seed): seed for seed in options.seeds}
        try:
            for done in as_completed(running):
                seed = running[done]
                with suppress(Stopped):
                    tried[seed] = done.result()
                    progress(
                        f"seed {seed}: {tried[seed]['fmax_mhz']:.1f} MHz of {options.clock_mhz:g} wanted"
                    )
        finally:
            stop.set()
    return tried


def _missed(board: Board, build: Build) -> str:
    """What is said of an unmet clock."""
    lines = [
        f"{board.name}: wanted {build.clock_mhz:g} MHz, the best of {len(build.seeds)} seeds reached "
        f"{build.fmax_mhz:.1f} MHz; no bitstream was written. Ask for less with --clock, try more --seeds, "
        "or shorten the slowest paths:"
    ]
    for path in build.paths:
        lines.append(
            f"  {path['nanoseconds']:.1f} ns ({path['routing']:.1f} of it routing, {path['levels']} levels): "
            f"{path['start']} -> {path['end']}; by component: "
            + ", ".join(f"{name} {spent:.1f} ns" for name, spent in path["components"].items())
        )
    return "\n".join(lines)


def _kept(folder: Path, make: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """What ``done.json`` of a folder says; made in a folder beside it first, which is then renamed.

    A folder that is there is never removed or changed: of two builds that make the same at once, the first to
    finish is kept, and both go on with it.
    """
    done = folder / "done.json"
    if done.exists():
        return json.loads(done.read_text())
    partial = folder.with_name(f"{folder.name}.{os.getpid()}")
    partial.mkdir(parents=True, exist_ok=True)
    try:
        found = make(partial)
    except (Stopped, KeyboardInterrupt, SystemExit):
        shutil.rmtree(partial)
        raise
    (partial / "done.json").write_text(json.dumps(found, indent=1))
    try:
        partial.rename(folder)  # fails where the folder is there, and has files
    except OSError as error:
        if not done.exists():
            raise BoardError(
                f"{folder}: wanted a finished build, found {error.strerror}; remove it"
            ) from error
        shutil.rmtree(partial)
        return json.loads(done.read_text())
    return found


def _synthesise(flow: Flow, verilog: str, tools: dict[str, str], cache: Path, progress: Progress) -> Path:
    """Folder of the netlist (``netlist.json``)."""
    key = identity(verilog, TOP, flow.synthesis, tools[YOSYS.package], inspect.getsource(dsp_registers))
    folder = cache / "synthesis" / key

    def make(work: Path) -> dict[str, Any]:
        progress(f"Yosys: {flow.synthesis} of {len(verilog.splitlines())} lines of Verilog")
        (work / "design.v").write_text(verilog)
        # Yosys 0.70 fails an assertion of its own (`count_id`) on some names of Amaranth's wires.
        (work / "run.ys").write_text(
            f"read_verilog -sv design.v\nrename -hide w:*\n{flow.synthesis} -top {TOP} -json netlist.json\n"
        )
        seconds = run(YOSYS, ["run.ys"], work, work / "yosys.log")
        if flow.synthesis == "synth_ecp5":
            netlist = json.loads((work / "netlist.json").read_text())
            packed = dsp_registers.pack_registers(netlist["modules"][TOP])
            (work / "netlist.json").write_text(json.dumps(netlist))
            progress(f"multipliers: {packed}")
        return {"seconds": seconds}

    _kept(folder, make)
    return folder


def _arguments(board: Board, options: Options, seed: int) -> list[str]:
    """What nextpnr is told beside the files' names."""
    common = ["--freq", f"{options.clock_mhz:g}", "--seed", str(seed), "--timing-allow-fail"]
    if board.toolchain == "nextpnr-ecp5":
        size = f"--{board.device.removeprefix('LFE5U-').removesuffix('F')}k"
        # router1, the default, took over 40 minutes of CPU for 60 % of the look-up tables of an 85F. The
        # electrostatic placer's wires are an eighth shorter than those of the default (docs/boards/ulx3s.md).
        ways = ["--placer", "static", "--router", "router2"]
        return [size, "--package", board.package, "--speed", board.speed, *ways, *common]
    return ["--device", board.device, "--vopt", f"family={board.package}", *common]


def _place(
    board: Board, flow: Flow, pins: str, netlist: Path, options: Options, seed: int,
    folder: Path, progress: Progress, stop: threading.Event,
) -> dict[str, Any]:  # fmt: skip
    """Placing and routing with one seed; {"fmax_mhz", "seconds"}."""

    def make(work: Path) -> dict[str, Any]:
        progress(f"nextpnr: seed {seed}; its log: {work / 'nextpnr.log'}")
        (work / f"pins.{flow.constraints}").write_text(pins)
        # A relative path: the tools (WebAssembly) have a /tmp of their own, in which a cache there is not.
        source, seconds = os.path.relpath(netlist / "netlist.json", work), 0.0
        common = [*_arguments(board, options, seed), "--report", "report.json"]
        if board.toolchain == "nextpnr-ecp5":
            common += ["--lpf", f"pins.{flow.constraints}"]
            if board.device in block_sites.DEVICES:
                source, seconds = _with_sites(board, flow, source, common, seed, work, progress, stop)
            files = ["--textcfg", f"design.{flow.placed}"]
        else:
            files = ["--vopt", f"cst=pins.{flow.constraints}", "--write", f"design.{flow.placed}"]
        seconds += run(flow.place, [*common, "--json", source, *files], work, work / "nextpnr.log", stop)
        report = json.loads((work / "report.json").read_text())
        clocks = {name: found["achieved"] for name, found in report["fmax"].items()}
        if not clocks:
            raise BoardError(f"nextpnr found no clock in the design; its log: {work / 'nextpnr.log'}")
        return {"fmax_mhz": min(clocks.values()), "seconds": seconds}

    return _kept(folder / f"seed_{seed}", make)


def _with_sites(
    board: Board, flow: Flow, source: str, common: list[str], seed: int, work: Path, progress: Progress,
    stop: threading.Event,
) -> tuple[str, float]:  # fmt: skip
    """The netlist with its blocks at the sites that a first placement suggests, and seconds; with few of
    them, the netlist as it is."""
    netlist = json.loads((work / source).read_text())
    cells = netlist["modules"][TOP]["cells"]
    if sum(cell["type"] in block_sites.KINDS for cell in cells.values()) < block_sites.LEAST:
        return source, 0.0
    arguments = [*common, "--json", source, "--no-route", "--write", "first.json"]
    seconds = run(flow.place, arguments, work, work / "first.log", stop)
    placed = json.loads((work / "first.json").read_text())["modules"][TOP]
    (work / "first.json").unlink()
    sites, before, after = block_sites.choose_sites(placed, board.device)
    progress(f"seed {seed}: {len(sites)} multipliers and memories moved, wires {before:,} to {after:,}")
    for name, site in sites.items():
        cells[name]["attributes"]["BEL"] = site
    (work / "sites.json").write_text(json.dumps(netlist))
    return "sites.json", seconds


def _pack(board: Board, flow: Flow, folder: Path) -> None:
    """Makes the bitstream in the folder of a seed."""
    partial = folder / f"partial.{os.getpid()}.{flow.bitstream}"
    if board.toolchain == "nextpnr-ecp5":
        arguments = ["--compress", f"design.{flow.placed}", partial.name]
    else:
        arguments = ["-d", board.package, "-o", partial.name, f"design.{flow.placed}"]
    run(flow.pack, arguments, folder, folder / "pack.log")
    partial.replace(folder / f"design.{flow.bitstream}")


def report_of(build: Build) -> dict[str, Any]:
    """The build as plain values."""
    return asdict(build) | {"bitstream": str(build.bitstream), "margin": build.margin}
