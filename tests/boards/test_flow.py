"""The open flow without its long parts: pins, clocks, fit, identity, seeds, errors; stand-ins for tools."""

import dataclasses
import json
from pathlib import Path

import pytest

from boards import ulx3s
from boards.board import Board, BoardError, boards, find_board
from boards.ecp5 import find_pll
from boards.fit import check_capacity, check_fit, estimate_resources
from boards.flow import bitstream
from boards.flow.bitstream import ClockError, Options, build_bitstream, identity
from boards.flow.components import Scopes, by_component, worst_paths
from boards.flow.constraints import constraints
from boards.flow.tools import Tool, flow_of, versions
from hw.machine import CI, KV260, MACHINES, NARROW
from trine.cli import main

ULX3S = find_board("ulx3s")
OPEN = [board for board in boards().values() if board.design]


@pytest.mark.parametrize("wanted", [21, 24, 25, 60, 62.5, 66, 72, 80, 100])
def test_the_pll_makes_the_clock_within_its_limits(wanted):
    pll = find_pll(25, wanted)
    oscillator = 25 / pll.divide * pll.multiply
    assert 25 / pll.divide >= 10 and 400 <= oscillator <= 800
    assert pll.mhz == oscillator / pll.output and 0 <= pll.mhz - wanted <= 0.01 * wanted
    assert max(pll.divide, pll.multiply, pll.output) <= 128


def test_a_clock_that_cannot_be_made_is_refused():
    with pytest.raises(BoardError, match=r"wanted a clock of 1 MHz.*--clock"):
        find_pll(25, 1)


@pytest.mark.parametrize("board", OPEN, ids=lambda board: board.name)
def test_every_bit_of_every_port_has_a_pin_of_its_own(board):
    design = board.design(board.machine, board.clock_mhz)
    bits = [
        name if len(port) == 1 else f"{name}[{i}]"
        for name, (port, _) in design.ports.items()
        for i in range(len(port))
    ]
    assert sorted(bits) == sorted(design.pins)
    assert len({pin.name for pin in design.pins.values()}) == len(bits)
    text = constraints(design, flow_of(board).constraints)
    assert all(f'"{bit}"' in text for bit in bits)


def test_the_sdram_has_time_to_spare_and_a_clock_without_is_refused(monkeypatch):
    for mhz in (18, 21, 24, 60, 80):
        assert min(ulx3s.sdram_slack(mhz).values()) >= 0.5
    for mhz in (12, 90):
        with pytest.raises(BoardError, match=r"ns to spare at the SDRAM's pins.*--clock 18 to 80"):
            ULX3S.design(ULX3S.machine, mhz)
    for degrees in (180, 270, 360):
        monkeypatch.setattr(ulx3s, "_SDRAM_DEGREES", degrees)
        assert min(min(ulx3s.sdram_slack(mhz).values()) for mhz in (24, 60)) < 0.5


def test_a_clock_that_the_link_cannot_use_is_refused_with_ones_that_it_can(tmp_path, capsys):
    assert main(["build", "--board", "ulx3s", "--clock", "31", "-o", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "take --clock 30 or 33" in said and "baud:" not in said
    for mhz in (30, 33, 60, 80):
        assert ULX3S.design(ULX3S.machine, mhz).clock_mhz == pytest.approx(mhz, rel=0.01)


def test_boards_are_complete():
    for board in boards().values():
        assert board.name and board.title and board.capacity.lut and board.memory.size
        assert board.machine is None or board.machine.name in MACHINES
    with pytest.raises(BoardError, match=r"there are: .*ulx3s"):
        find_board("none")


def test_what_cannot_fit_is_refused_and_what_does_is_named():
    check_fit(ULX3S, MACHINES["ulx3s"])
    with pytest.raises(
        BoardError, match=r"narrow does not fit.* 163 DSP blocks of 156.*lanes.*these fit: ulx3s"
    ):
        check_fit(ULX3S, NARROW)
    with pytest.raises(BoardError, match="look-up tables"):
        check_fit(ULX3S, CI)
    with pytest.raises(BoardError, match="kv260 is for xcup, board ulx3s has ecp5"):
        check_fit(ULX3S, KV260)
    with pytest.raises(BoardError, match="80,000 look-up tables of 71,094"):
        check_capacity(ULX3S, "m", {"lut": 80_000, "ff": 1, "dsp": 156})


def test_the_rule_for_resources_is_near_what_synthesis_found():
    """Yosys by module, 2026-11-22: (look-up tables, DSP blocks)."""
    for name, (lut, dsp) in {"ulx3s": (49_379, 107), "narrow": (74_983, 163)}.items():
        found = estimate_resources(MACHINES[name])
        assert found["dsp"] == dsp
        assert found["lut"] == pytest.approx(lut, rel=0.15)


def test_a_missing_tool_names_its_remedy():
    flow = dataclasses.replace(flow_of(ULX3S), pack=Tool("no-such-packer", ""))
    with pytest.raises(BoardError, match=r"found no no-such-packer; install them: .*trine\[boards\]"):
        versions(flow)


def test_identity_depends_on_every_part_and_their_borders():
    assert identity("ab", "c") != identity("a", "bc") != identity("a", "bc", "")
    assert identity("ab", "c") == identity("ab", "c")


NETLIST = {
    "a": {"type": "$scopeinfo", "parameters": {"TYPE": "module"}},
    "a.b": {"type": "$scopeinfo", "parameters": {"TYPE": "module"}},
    "a.b.x_LUT4_Z": {"type": "LUT4", "parameters": {}},
    "a.y": {"type": "CCU2C", "parameters": {}},
    "a.c.z": {"type": "TRELLIS_DPR16X4", "parameters": {}},
    "w": {"type": "TRELLIS_FF", "parameters": {}},
}
REPORT = {
    "fmax": {"$glbnet$clk": {"achieved": 30.0, "constraint": 25.0}},
    "critical_paths": [
        {"from": "<async>", "to": "posedge clk", "path": [{"delay": 99, "from": {}, "to": {}}]},
        {
            "from": "posedge clk", "to": "posedge clk",
            "path": [
                {"type": "clk-to-q", "delay": 0.5, "from": {"cell": "w"}, "to": {"cell": "w"}},
                {"type": "routing", "delay": 2.0, "from": {"cell": "w"}, "to": {"cell": "a.b.x_LUT4_Z"}},
                {"type": "logic", "delay": 0.25, "from": {"cell": "a.b.x_LUT4_Z"},
                 "to": {"cell": "a.b.x_LUT4_Z"}},
                {"type": "setup", "delay": 0.25, "from": {"cell": "a.y"}, "to": {"cell": "a.y"}},
            ],
        },
    ],
}  # fmt: skip


def test_cells_and_paths_are_told_by_component():
    scopes = Scopes(NETLIST)
    assert [scopes.of(name) for name in NETLIST] == ["", "a", "a.b", "a", "a", ""]
    found = by_component(NETLIST, "nextpnr-ecp5", scopes)
    assert found == {
        "": {"lut": 7, "ram": 4, "ff": 1}, "a": {"lut": 7, "ram": 4}, "a.b": {"lut": 1},
    }  # fmt: skip
    (path,) = worst_paths(REPORT, scopes)
    assert path["nanoseconds"] == 3.0 and path["routing"] == 2.0 and path["levels"] == 1
    assert (path["start"], path["end"]) == ("w", "a.y")
    assert path["components"] == {"a.b": 2.25, "top": 0.5, "a": 0.25}


@pytest.fixture
def tools(monkeypatch):
    """Stand-ins: nextpnr reaches the MHz of `speeds` by seed; what was run is kept in `calls`."""
    calls: list[str] = []
    speeds = {1: 20.0, 2: 31.0, 3: 29.0}

    def run(tool, arguments, folder: Path, log: Path, stop=None) -> float:
        log.write_text("")
        if tool.package == "pyosys":
            calls.append("yosys")
            modules = {"top": {"cells": NETLIST}}
            (folder / "netlist.json").write_text(json.dumps({"modules": modules}))
        elif "--textcfg" in arguments:
            seed = int(arguments[arguments.index("--seed") + 1])
            calls.append(f"seed {seed}")
            netlist = Path(arguments[arguments.index("--json") + 1])
            assert not netlist.is_absolute(), "nextpnr does not see what is in /tmp by an absolute path"
            assert json.loads((folder / netlist).read_text())["modules"]["top"]["cells"] == NETLIST
            fmax = {"$glbnet$clk": {"achieved": speeds[seed]}}
            (folder / "report.json").write_text(json.dumps({**REPORT, "fmax": fmax}))
            (folder / arguments[arguments.index("--textcfg") + 1]).write_text(str(seed))
        else:
            calls.append("pack")
            (folder / arguments[-1]).write_bytes((folder / arguments[-2]).read_bytes())
        return 1.0

    monkeypatch.setattr(bitstream, "run", run)
    return calls


def build(folder: Path, board: Board = ULX3S, verilog: str = "module top(); endmodule", **options):
    design = ULX3S.design(ULX3S.machine, 60.0)
    options = {"clock_mhz": 25.0, "seeds": (1, 2, 3), **options}
    return build_bitstream(board, design, verilog, "ulx3s", Options(**options), folder)


def test_the_first_seed_that_meets_the_clock_ends_the_search(tools, tmp_path):
    found = build(tmp_path)
    assert tools == ["yosys", "seed 1", "seed 2", "pack"]
    assert (found.seed, found.fmax_mhz, found.met) == (2, 31.0, True)
    assert found.margin == pytest.approx(0.24)
    assert found.bitstream.read_bytes() == b"2"
    assert found.components[""]["lut"] == 7


def test_all_seeds_are_tried_if_asked_and_the_best_is_kept(tools, tmp_path):
    found = build(tmp_path, clock_mhz=15.0, all_seeds=True)
    assert found.seeds == {1: 20.0, 2: 31.0, 3: 29.0} and found.seed == 2


def test_a_build_is_not_repeated_and_a_change_of_anything_makes_another(tools, tmp_path):
    first = build(tmp_path)
    del tools[:]
    assert build(tmp_path) == first and tools == []
    assert build(tmp_path, clock_mhz=26.0).identity != first.identity
    assert tools == ["seed 1", "seed 2", "pack"]
    faster = dataclasses.replace(ULX3S, speed="7")
    assert build(tmp_path, faster).identity not in (first.identity,)
    del tools[:]
    assert build(tmp_path, verilog="module top(input a); endmodule").identity != first.identity
    assert tools[0] == "yosys"


def test_an_unmet_clock_names_the_paths_and_leaves_no_bitstream(tools, tmp_path):
    with pytest.raises(
        ClockError, match=r"wanted 60 MHz, the best of 3 seeds reached 31.0 MHz.*--clock"
    ) as error:
        build(tmp_path, clock_mhz=60.0)
    assert "w -> a.y; by component: a.b 2.2 ns" in str(error.value)
    assert "pack" not in tools and not list(tmp_path.rglob("*.bit"))


def test_a_design_too_large_is_refused_before_it_is_placed(tools, tmp_path):
    small = dataclasses.replace(ULX3S, capacity=dataclasses.replace(ULX3S.capacity, lut=7))
    with pytest.raises(BoardError, match="it needs 7 look-up tables of 6"):
        build(tmp_path, small)
    assert tools == ["yosys"]


# --- the verb ---------------------------------------------------------------------------------------------


def test_build_refuses_what_it_would_not_obey(tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("mine")
    for options, said in (
        (["--board", "ulx3s", "--clock", "0"], "wanted more than 0 MHz"),
        (["--board", "kv260", "--clock", "100"], "wanted none for board kv260"),
        (["--board", "ecpix5", "--machine", "wide"], "does not fit"),
        (["--board", "kv260", "-o", str(file)], "wanted a folder"),
        (["--board", "ulx3s", "-o", str(file / "below")], "wanted a folder"),
    ):
        assert main(["build", *options]) == 2
        assert said in capsys.readouterr().err
    assert file.read_text() == "mine"


def test_a_failed_build_leaves_no_old_result_and_no_file_of_others(tmp_path, capsys, monkeypatch):
    def fails(*_args: object) -> None:
        raise BoardError("wanted room, found none")

    monkeypatch.setattr("trine.build.build_bitstream", fails)
    monkeypatch.setattr("trine.build.emit", lambda *_: "")
    old = [tmp_path / name for name in ("tangnano9k.fs", "report.json", "nextpnr.log")]
    others = tmp_path / "tangnano9k.py"
    for path in (*old, others):
        path.write_text("old")
    assert main(["build", "--board", "tangnano9k", "-o", str(tmp_path)]) == 2
    assert "wanted room" in capsys.readouterr().err
    assert [path for path in (*old, others) if path.exists()] == [others]


def test_a_project_of_what_is_too_large_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("boards.vendor.PROJECTS", {"vivado": lambda *_: []})
    build = ["build", "--board", "kv260", "-o", str(tmp_path)]
    assert main(build) == 0
    assert "look-up tables" not in capsys.readouterr().err
    monkeypatch.setattr("boards.fit._MEASURED", {"kv260": {"lut": 219_769}})
    assert main(build) == 0
    assert "219,769 look-up tables of 117,120" in capsys.readouterr().err
