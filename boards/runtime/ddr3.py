"""Setting up the DDR3 behind a LiteDRAM core without a processor, from the host.

The order of commands is LiteDRAM's own, read from the header that its generator writes (`sdram_phy.h`);
addresses come from `csr.csv`. Then each byte lane of the read path is calibrated (JESD79-3, read training in
outline): for every bit slip and delay a pattern is written and read, and the middle of the longest run of
delays that bring it back is kept.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .session import DeviceError

__all__ = ["Ddr3Core", "Lane", "set_up"]

#: Times that a pattern is tried at each setting, each time another one.
_PATTERNS = 3


@dataclass(frozen=True)
class Lane:
    """What calibration chose for a byte lane: bit slip, delay, and how many delays beside it work."""

    slip: int
    delay: int
    window: int


@dataclass(frozen=True)
class Ddr3Core:
    """What the generator says of a core: register addresses (bytes), constants, the order of commands."""

    registers: dict[str, int]
    sizes: dict[str, int]
    constants: dict[str, int]
    sequence: tuple[tuple[str, int], ...]

    @classmethod
    def parse(cls, csr_csv: str, phy_header: str) -> "Ddr3Core":
        """From the texts of both files. DeviceError: they are not what is wanted."""
        registers, sizes = {}, {}
        for row in csr_csv.splitlines():
            kind, name, *rest = row.split(",")
            if kind == "csr_register":
                registers[name], sizes[name] = int(rest[0], 16), int(rest[1])
        defines = re.findall(r"^#define (\w+) (0x\w+|\d+)$", phy_header, re.M)
        constants = {name: int(text.rstrip("UL"), 0) for name, text in defines}
        body = re.search(r"void init_sequence\(void\)\s*\{(.*?)\n\}", phy_header, re.DOTALL)
        if body is None or "sdram_dfii_control" not in registers:
            raise DeviceError(
                "wanted csr.csv and sdram_phy.h of a LiteDRAM core, found no order of commands in them; "
                "run the project's build.sh"
            )

        def value(text: str) -> int:
            total = 0
            for part in text.split("|"):
                part = part.strip()
                total |= constants[part] if part in constants else int(part, 0)
            return total

        steps: list[tuple[str, int]] = []
        calls = re.findall(r"^\s*(\w+)\((.*)\);$", re.sub(r"/\*.*?\*/", "", body.group(1)), re.M)
        for call, argument in calls:
            if call.startswith("command_p"):
                phase = call.removeprefix("command_p")
                steps.append((f"sdram_dfii_pi{phase}_command", value(argument)))
                steps.append((f"sdram_dfii_pi{phase}_command_issue", 1))
            elif call == "cdelay":
                steps.append(("wait", value(argument)))
            else:
                steps.append((call.removesuffix("_write"), value(argument)))
        return cls(registers, sizes, constants, tuple(steps))


class _Bus:
    """The core's registers by name."""

    def __init__(self, core: Ddr3Core, read: Callable[[int], int], write: Callable[[int, int], None]):
        self.core, self._read, self._write = core, read, write

    def put(self, name: str, value: int) -> None:
        """Words of a wide register from the highest on, as LiteX orders them."""
        words = self.core.sizes[name]
        for i in range(words):
            at = self.core.registers[name] + 4 * i
            self._write(at, value >> 32 * (words - 1 - i) & 0xFFFF_FFFF)

    def get(self, name: str) -> int:
        value = 0
        for i in range(self.core.sizes[name]):
            value = value << 32 | self._read(self.core.registers[name] + 4 * i)
        return value

    def command(self, phase: int, bits: str, address: int = 0) -> None:
        """One command to bank 0: names of its bits."""
        self.put(f"sdram_dfii_pi{phase}_address", address)
        self.put(f"sdram_dfii_pi{phase}_baddress", 0)
        flags = sum(self.core.constants[f"DFII_COMMAND_{bit}"] for bit in bits.split())
        self.put(f"sdram_dfii_pi{phase}_command", flags)
        self.put(f"sdram_dfii_pi{phase}_command_issue", 1)


def _brings_back(bus: _Bus, lane: int, seed: int) -> bool:
    """Write a burst and read it: whether this lane's bytes come back, with the strobe seen."""
    c = bus.core.constants
    phases, lanes = c["SDRAM_PHY_PHASES"], c["SDRAM_PHY_MODULES"]
    each = c["SDRAM_PHY_DFI_DATABITS"] // 8  # bytes of a phase: several beats of all lanes, lane 0 first
    patterns = np.random.default_rng(seed).integers(0, 256, (phases, each), np.uint8)
    bus.command(0, "RAS CS")  # open row 0
    for phase in range(phases):
        bus.put(f"sdram_dfii_pi{phase}_wrdata", int.from_bytes(patterns[phase].tobytes(), "little"))
    bus.command(c["SDRAM_PHY_WRPHASE"], "CAS WE CS WRDATA")
    bus.put("ddrphy_burstdet_clr", 1)
    bus.command(c["SDRAM_PHY_RDPHASE"], "CAS CS RDDATA")
    bus.command(0, "RAS WE CS")  # close it
    if not bus.get("ddrphy_burstdet_seen") >> lane & 1:
        return False
    for phase in range(phases):
        found = bus.get(f"sdram_dfii_pi{phase}_rddata").to_bytes(each, "little")
        if found[lane::lanes] != patterns[phase].tobytes()[lane::lanes]:
            return False
    return True


def _pulse(bus: _Bus, lane: int, name: str, times: int = 1) -> None:
    bus.put("ddrphy_dly_sel", 1 << lane)
    for _ in range(times):
        bus.put(name, 1)
    bus.put("ddrphy_dly_sel", 0)


def _setting(bus: _Bus, lane: int, slip: int, delay: int) -> None:
    _pulse(bus, lane, "ddrphy_rdly_dq_bitslip_rst")
    _pulse(bus, lane, "ddrphy_rdly_dq_bitslip", slip)
    _pulse(bus, lane, "ddrphy_rdly_dq_rst")
    _pulse(bus, lane, "ddrphy_rdly_dq_inc", delay)


def _calibrate(bus: _Bus, lane: int) -> Lane:
    """The middle of the longest run of good delays, over all bit slips."""
    c, best = bus.core.constants, Lane(0, 0, 0)
    for slip in range(c["SDRAM_PHY_BITSLIPS"]):
        start = None
        for delay in range(c["SDRAM_PHY_DELAYS"] + 1):
            good = delay < c["SDRAM_PHY_DELAYS"]
            if good:
                _setting(bus, lane, slip, delay)
                good = all(_brings_back(bus, lane, seed) for seed in range(_PATTERNS))
            if good and start is None:
                start = delay
            if not good and start is not None:
                if delay - start > best.window:
                    best = Lane(slip, (start + delay - 1) // 2, delay - start)
                start = None
    if best.window == 0:
        raise DeviceError(
            f"DDR3: byte lane {lane} brings nothing back at any setting; check the memory's supply and the "
            "constraints of its pins, and that core.yml names the memory of this board"
        )
    _setting(bus, lane, best.slip, best.delay)
    return best


def set_up(
    core: Ddr3Core,
    read: Callable[[int], int],
    write: Callable[[int, int], None],
    wait: Callable[[float], None] = time.sleep,
    clock_mhz: float = 75.0,
) -> list[Lane]:
    """Bring the memory up and calibrate it; what was chosen for each byte lane.

    ``read`` and ``write`` reach the core's registers by byte address. DeviceError where a lane does not work;
    the core then says `init_error`, and its memory port stays shut.
    """
    bus = _Bus(core, read, write)
    c = core.constants
    bus.put("ddrctrl_init_done", 0)
    bus.put("ddrctrl_init_error", 0)
    bus.put("sdram_dfii_control", c["DFII_CONTROL_CKE"] | c["DFII_CONTROL_ODT"] | c["DFII_CONTROL_RESET_N"])
    for name, value in core.sequence:
        if name == "wait":
            wait(value / (clock_mhz * 1e6))
        else:
            bus.put(name, value)
    try:
        found = [_calibrate(bus, lane) for lane in range(c["SDRAM_PHY_MODULES"])]
    except DeviceError:
        bus.put("ddrctrl_init_error", 1)
        raise
    bus.put("sdram_dfii_control", c["DFII_CONTROL_SEL"])
    bus.put("ddrctrl_init_done", 1)
    return found
