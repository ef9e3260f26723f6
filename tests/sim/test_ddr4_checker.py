"""Each DDR4 rule, alone: commands at the limit pass the checker, one clock earlier they break it by name."""

import subprocess
from pathlib import Path

import pytest

from sim.verilate import SOURCES

#: DDR4-2400T, 8 Gbit x16, clocks: as DRAMsim3's DDR4_8Gb_x16_2400.ini (University of Maryland) has them.
RULES = {"tCL": 17, "tCWL": 12, "tRCD": 17, "tRP": 17, "tRAS": 39, "tRC": 56, "tCCD_S": 4, "tCCD_L": 6,
         "tRRD_S": 7, "tRRD_L": 8, "tFAW": 36, "tWTR_S": 3, "tWTR_L": 9, "tRTP": 9, "tWR": 18, "tRFC": 420,
         "tREFI": 9360}  # fmt: skip
#: The last command of each may come at its time, not a clock earlier. Banks 0 to 3 are one group, 4 to 7 the
#: other; the limits are worked out by hand from JESD79-4, the burst being 4 clocks.
OPEN = "ACT 100 0 5, ACT 110 1 5, ACT 120 4 5"
LIMITS = {
    "tRCD of a read": ("tRCD", "ACT 10 0 5", "RD", 27, 0, 5),
    "tRCD of a write": ("tRCD", "ACT 10 0 5", "WR", 27, 0, 5),
    "tRP": ("tRP", "ACT 10 0 5, PRE 80 0 0", "ACT", 97, 0, 6),
    "tRP of all banks": ("tRP", "ACT 10 0 5, PRE 80 -1 0", "ACT", 97, 0, 6),
    "tRP before a refresh": ("tRP", "ACT 10 0 5, PRE 80 -1 0", "REF", 97, -1, 0),
    "tRAS": ("tRAS", "ACT 10 0 5", "PRE", 49, 0, 0),
    "tRAS, all banks": ("tRAS", "ACT 10 0 5, ACT 20 4 5", "PRE", 59, -1, 0),
    "tCCD_L of reads": ("tCCD_L", f"{OPEN}, RD 200 0 5", "RD", 206, 1, 5),
    "tCCD_L in one bank": ("tCCD_L", f"{OPEN}, RD 200 0 5", "RD", 206, 0, 5),
    "tCCD_S of reads": ("tCCD_S", f"{OPEN}, RD 200 0 5", "RD", 204, 4, 5),
    "tCCD_L of writes": ("tCCD_L", f"{OPEN}, WR 200 0 5", "WR", 206, 1, 5),
    "tCCD_S of writes": ("tCCD_S", f"{OPEN}, WR 200 0 5", "WR", 204, 4, 5),
    "read to write": ("tCL and tCWL", f"{OPEN}, RD 200 0 5", "WR", 211, 4, 5),
    "tWTR_L": ("tWTR_L", f"{OPEN}, WR 200 0 5", "RD", 225, 1, 5),
    "tWTR_S": ("tWTR_S", f"{OPEN}, WR 200 0 5", "RD", 219, 4, 5),
    "tRTP": ("tRTP", f"{OPEN}, RD 200 0 5", "PRE", 209, 0, 0),
    "tWR": ("tWR", f"{OPEN}, WR 200 0 5", "PRE", 234, 0, 0),
    "tRRD_L": ("tRRD_L", "ACT 10 0 5", "ACT", 18, 1, 5),
    "tRRD_S": ("tRRD_S", "ACT 10 0 5", "ACT", 17, 4, 5),
    "tFAW": ("tFAW", "ACT 10 0 5, ACT 17 4 5, ACT 25 1 5, ACT 32 5 5", "ACT", 46, 2, 5),
    "tRFC to ACT": ("tRFC", "REF 10 -1 0", "ACT", 430, 0, 5),
    "tRFC to REF": ("tRFC", "REF 10 -1 0", "REF", 430, -1, 0),
    "data of a read": ("tCL", f"{OPEN}, RD 200 0 5", "DATA", 221, 200, 0),
    "one command a clock": ("command bus", "ACT 10 0 5", "ACT", 17, 4, 5),
}  # fmt: skip


@pytest.fixture(scope="session")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checker as a program."""
    program = tmp_path_factory.mktemp("ddr4") / "commands"
    sources = [str(Path(__file__).with_name("ddr4_commands.cpp")), str(SOURCES / "ddr4_checker.cpp")]
    subprocess.run(
        ["g++", "-std=gnu++17", "-Wall", "-Wextra", "-Werror", f"-I{SOURCES}", *sources, "-o", str(program)],
        check=True,
    )
    return program


def said(checker: Path, commands: str, **rules: int) -> str:
    """What the checker says to a list of commands: "" if all rules were kept."""
    values = [f"{name}:{value}" for name, value in (RULES | rules).items()]
    text = commands.replace(",", "\n")
    done = subprocess.run(
        [str(checker), "2", "4", *values], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == (1 if done.stdout else 0), done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("name", LIMITS)
def test_limit(checker: Path, name: str) -> None:
    rule, before, last, at, one, two = LIMITS[name]
    assert said(checker, f"{before}, {last} {at} {one} {two}") == ""
    early = 10 if rule == "command bus" else at - 1
    assert said(checker, f"{before}, {last} {early} {one} {two}").startswith(rule)


def test_row_cycle(checker: Path) -> None:
    """tRC is tRAS + tRP in this part; with a longer one it shows by itself."""
    commands = "ACT 10 0 5, PRE 49 0 0, ACT {} 0 6"
    assert said(checker, commands.format(66)) == ""
    assert said(checker, commands.format(66), tRC=57).startswith(
        "tRC: ACT of bank 0 at clock 66 is 56 clocks"
    )
    assert said(checker, commands.format(67), tRC=57) == ""


@pytest.mark.parametrize(
    ("commands", "message"),
    [
        ("RD 100 0 5", "row: RD of bank 0 at clock 100 means row 5, open is -1"),
        ("ACT 10 0 4, WR 100 0 5", "row: WR of bank 0 at clock 100 means row 5, open is 4"),
        ("ACT 10 0 4, ACT 100 0 5", "row: ACT of bank 0 at clock 100, whose row 4 is open"),
        ("ACT 10 3 4, REF 100 -1 0", "row: REF at clock 100 while bank 3 is open"),
        ("ACT 10 3 4, PRE 90 3 0, RD 200 3 4", "row: RD of bank 3 at clock 200 means row 4, open is -1"),
    ],
)
def test_rows(checker: Path, commands: str, message: str) -> None:
    assert said(checker, commands) == message


def test_refreshes_owed(checker: Path) -> None:
    """Eight refreshes may be owed, not nine; eight may be early, not nine."""
    late = 9 * RULES["tREFI"]
    assert said(checker, f"TIME {late - 1} 0 0") == ""
    assert said(checker, f"TIME {late} 0 0").startswith(
        "tREFI: at clock 84240 more than 8 refreshes are owed"
    )
    assert said(checker, f"REF 100 -1 0, TIME {late} 0 0") == ""
    early = [f"REF {500 * i} -1 0" for i in range(1, 10)]
    assert said(checker, ",".join(early[:8])) == ""
    assert said(checker, ",".join(early)).startswith(
        "tREFI: REF at clock 4500 is more than 8 refreshes early"
    )


def test_order(checker: Path) -> None:
    """A block's reads and writes follow the writes before them; those before it are free to come later."""
    accepted = "ACCEPT 1 0 7, ACCEPT 2 1 7, ACCEPT 3 0 7, ACCEPT 4 1 7"
    assert said(checker, f"{accepted}, SERVE 2 1 7, SERVE 3 0 7, SERVE 1 0 7, SERVE 4 1 7") == ""
    assert (
        said(checker, f"{accepted}, SERVE 3 0 7") == "order: a read of block 7 overtook the write before it"
    )
    assert (
        said(checker, f"{accepted}, SERVE 4 1 7") == "order: a write of block 7 overtook the write before it"
    )
    assert said(checker, f"{accepted}, SERVE 4 1 8") == ""
