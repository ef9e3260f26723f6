"""Each rule of the SDRAM model: a command at the limit passes, a clock earlier it breaks the rule by name."""

import subprocess
from pathlib import Path

import pytest

from sim.verilate import SOURCES

#: Clock of 10 ns, so that clocks are the times / 10, rounded up; no wait for power-up.
RULES = ["clock_ns=10", "init_us=0.1", "t_rcd=20", "t_rp=30", "t_ras=50", "t_rc=90", "t_rrd=20", "t_wr=20",
         "t_rfc=70", "t_refi=1000", "cas_latency=3", "init_refreshes=2",
         "rows=64"]  # fmt: skip
#: MODE REGISTER SET at clock 40: READs from 50 on are well after everything.
INIT = "12 PRE 0 1024, 15 REF 0 0, 22 REF 0 0, 40 MRS 0 49"
OPEN = f"{INIT}, 50 ACT 0 5, 60 ACT 1 6"
#: (rule, commands before, clock at which the last one is in time, that command).
LIMITS = {
    "power-up": ("power-up", "", 10, "PRE 0 1024"),
    "tRP before REF": ("tRP", "12 PRE 0 1024", 15, "REF 0 0"),
    "tRP before MRS": ("tRP", "12 PRE 0 1024", 15, "MRS 0 49"),
    "tRFC to REF": ("tRFC", "12 PRE 0 1024, 15 REF 0 0", 22, "REF 0 0"),
    "tRFC to MRS": ("tRFC", "12 PRE 0 1024, 15 REF 0 0", 22, "MRS 0 49"),
    "tRFC to ACT": ("tRFC", f"{INIT}, 50 REF 0 0", 57, "ACT 0 5"),
    "tMRD": ("tMRD", INIT, 42, "ACT 0 5"),
    "tRCD of a read": ("tRCD", f"{INIT}, 50 ACT 0 5", 52, "RD 0 4"),
    "tRCD of a write": ("tRCD", f"{INIT}, 50 ACT 0 5", 52, "WR 0 4"),
    "tRRD": ("tRRD", f"{INIT}, 50 ACT 0 5", 52, "ACT 1 5"),
    "tRAS": ("tRAS", f"{INIT}, 50 ACT 0 5", 55, "PRE 0 0"),
    "tRAS of all": ("tRAS", f"{INIT}, 50 ACT 0 5, 54 ACT 3 5", 59, "PRE 0 1024"),
    "tRP": ("tRP", f"{OPEN}, 80 PRE 0 0", 83, "ACT 0 7"),
    "tRC": ("tRC", f"{INIT}, 50 ACT 0 5, 55 PRE 0 0", 59, "ACT 0 7"),
    "tRC before REF": ("tRC", f"{INIT}, 50 ACT 0 5, 55 PRE 0 0", 59, "REF 0 0"),
    "tWR": ("tWR", f"{OPEN}, 70 WR 0 4", 73, "PRE 0 0"),
    "read to PRE": ("burst", f"{OPEN}, 70 RD 0 4", 72, "PRE 0 0"),
    "read to read": ("burst", f"{OPEN}, 70 RD 0 4", 72, "RD 1 4"),
    "read to write": ("data bus", f"{OPEN}, 70 RD 0 4", 76, "WR 1 4"),
}  # fmt: skip
#: (rule, commands, the last of which is wrong whenever it comes).
WRONG = {
    "ACT to an open bank": ("bank", f"{OPEN}, 80 ACT 0 9"),
    "read of a closed bank": ("bank", f"{OPEN}, 80 RD 2 4"),
    "write to a closed bank": ("bank", f"{OPEN}, 80 WR 3 4"),
    "REF with an open bank": ("refresh", f"{OPEN}, 80 REF 0 0"),
    "MRS with an open bank": ("mode", f"{OPEN}, 80 MRS 0 49"),
    "MRS of another latency": ("mode", "12 PRE 0 1024, 15 REF 0 0, 22 REF 0 0, 40 MRS 0 33"),
    "MRS of another burst": ("mode", "12 PRE 0 1024, 15 REF 0 0, 22 REF 0 0, 40 MRS 0 48"),
    "MRS before PRE": ("init", "40 MRS 0 49"),
    "REF before PRE": ("init", "40 REF 0 0"),
    "ACT before MRS": ("init", "12 PRE 0 1024, 15 REF 0 0, 22 REF 0 0, 40 ACT 0 5"),
    "too few REF": ("init", "12 PRE 0 1024, 15 REF 0 0, 40 MRS 0 49, 50 ACT 0 5"),
    "auto-precharge": ("command", f"{OPEN}, 80 RD 0 1028"),
    "BURST STOP": ("command", f"{OPEN}, 80 BST 0 0"),
    "column beyond the row": ("address", f"{OPEN}, 80 RD 0 512"),
    "odd column": ("address", f"{OPEN}, 80 RD 0 5"),
    "row beyond the chip": ("address", f"{INIT}, 50 ACT 0 64"),
    "nobody drives a write": ("data bus", f"{OPEN}, 80 WR 0 4 0 0"),
    "both drive": ("data bus", f"{OPEN}, 80 RD 0 4, 83 NOP 0 0 0 1"),
    "no clock to turn round": ("data bus", f"{OPEN}, 80 RD 0 4, 85 NOP 0 0 0 1"),
    "no refresh": ("tREFI", f"{INIT}, 50 REF 0 0, 1100 NOP 0 0"),
}


@pytest.fixture(scope="session")
def chip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chip as a program that takes commands."""
    program = tmp_path_factory.mktemp("sdram") / "commands"
    source = Path(__file__).with_name("sdram_commands.cpp")
    subprocess.run(["g++", "-O1", "-std=gnu++17", f"-I{SOURCES}", "-o", program, source], check=True)
    return program


def run(chip: Path, commands: str) -> str:
    """What the chip says: nothing where all rules hold."""
    text = "\n".join(part.strip() for part in commands.split(",") if part.strip())
    return subprocess.run([chip, *RULES], input=text + "\n", capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("name", LIMITS)
def test_limit(chip: Path, name: str):
    rule, before, clock, last = LIMITS[name]
    assert run(chip, f"{before}, {clock} {last}") == ""
    assert run(chip, f"{before}, {clock - 1} {last}").startswith(f"SDRAM: {rule}:")


@pytest.mark.parametrize("name", WRONG)
def test_wrong(chip: Path, name: str):
    rule, commands = WRONG[name]
    *before, _ = commands.split(", ")
    assert run(chip, ", ".join(before)) == ""
    assert run(chip, commands).startswith(f"SDRAM: {rule}:")


def test_refresh_in_time(chip: Path):
    """As many as there are intervals: nothing is owed for long."""
    refreshes = ", ".join(f"{60 + 100 * i} REF 0 0" for i in range(60))
    assert run(chip, f"{INIT}, {refreshes}, 6100 NOP 0 0") == ""
