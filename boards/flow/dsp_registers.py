"""Registers around the multipliers of an ECP5 netlist, moved into them.

Yosys uses MULT18X18D without its registers (Lattice FPGA-TN-02205, "sysDSP"): each product then takes a way
from a register to the block and another one from there, and the blocks lie far apart. What the registers
compute stays the same, cycle by cycle; netlists are simulated with both (tests/boards/test_dsp_registers.py).
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

__all__ = ["Packed", "pack_registers"]

_BLOCK, _REGISTER = "MULT18X18D", "TRELLIS_FF"
_OPERAND, _RESULT = re.compile(r"[AB]\d+"), re.compile(r"P\d+")
#: What a register must be to lie in a block: never reset, 0 at first.
_PLAIN = {"CLKMUX": "CLK", "GSR": "DISABLED", "REGSET": "RESET"}

#: A net, or a constant as text.
Bit = int | str
#: Clock, what enables, and whether it does so when 0.
Control = tuple[Bit, Bit, bool]


@dataclass
class Packed:
    """Blocks whose operands, whose result or both are registers now, and registers that are gone."""

    operands: int = 0
    results: int = 0
    both: int = 0
    registers: int = 0

    def __str__(self) -> str:
        return (
            f"{self.both} with registers before and behind, {self.operands} before, {self.results} behind; "
            f"{self.registers} registers fewer"
        )


class _Netlist:
    """The cells of a flat module as Yosys' ``write_json`` has them, with the ends of each net."""

    def __init__(self, module: dict[str, Any]) -> None:
        self.cells: dict[str, dict[str, Any]] = module["cells"]
        self.driver: dict[int, tuple[str, str]] = {}
        self.sinks: dict[int, list[tuple[str, str]]] = defaultdict(list)
        self.kept = {bit for port in module["ports"].values() for bit in port["bits"]}
        self._last = max(
            (bit for net in module["netnames"].values() for bit in net["bits"] if isinstance(bit, int)),
            default=0,
        )
        for name, cell in self.cells.items():
            for port, bits in cell["connections"].items():
                for bit in bits:
                    if isinstance(bit, int):
                        if cell["port_directions"][port] == "output":
                            self.driver[bit] = name, port
                        else:
                            self.sinks[bit].append((name, port))
        self._inverted: dict[int, int] = {}
        #: Registers that are gone.
        self.removed = 0

    def control(self, register: dict[str, Any]) -> Control | None:
        """Of a register that may lie in a block."""
        settings, pins = register["parameters"], register["connections"]
        plain = all(settings.get(name, value).strip() == value for name, value in _PLAIN.items())
        if not plain or pins.get("LSR", ["0"]) != ["0"]:
            return None
        mode = settings.get("CEMUX", "1").strip()
        if mode == "1":
            return pins["CLK"][0], "1", False
        enable = pins["CE"][0]
        if isinstance(enable, str):
            return None
        return pins["CLK"][0], enable, mode == "INV"

    def enable(self, control: Control) -> Bit:
        """The net that enables, inverted by a look-up table where it must be: one for each net."""
        _, enable, inverted = control
        if not inverted or isinstance(enable, str):
            return enable
        if enable not in self._inverted:
            self._last += 1
            self._inverted[enable] = self._last
            self.cells[f"$enable_{enable}"] = {
                "hide_name": 1, "type": "LUT4", "attributes": {},
                "parameters": {"INIT": format(0x5555, "016b")},
                "port_directions": dict.fromkeys("ABCD", "input") | {"Z": "output"},
                "connections": {"A": [enable], "B": ["0"], "C": ["0"], "D": ["0"], "Z": [self._last]},
            }  # fmt: skip
        return self._inverted[enable]

    def reach_through(self, block: str, pin: str, register: str) -> None:
        """The pin takes what the register takes; a register that nothing else reads is gone."""
        pins = self.cells[block]["connections"]
        (bit,), (source,) = pins[pin], self.cells[register]["connections"]["DI"]
        pins[pin] = [source]
        self.sinks[bit].remove((block, pin))
        if isinstance(source, int):
            self.sinks[source].append((block, pin))
        if not self.sinks[bit] and bit not in self.kept:
            self._remove(register)

    def take_over(self, block: str, pin: str, register: str) -> None:
        """The pin drives what the register, which is gone, drove."""
        (bit,) = self.cells[register]["connections"]["Q"]
        self.cells[block]["connections"][pin] = [bit]
        self.driver[bit] = block, pin
        self._remove(register)

    def _remove(self, register: str) -> None:
        for port, bits in self.cells.pop(register)["connections"].items():
            for bit in bits:
                if isinstance(bit, int) and (register, port) in self.sinks.get(bit, ()):
                    self.sinks[bit].remove((register, port))
        self.removed += 1

    def before(self, block: dict[str, Any]) -> tuple[Control | None, dict[str, str]]:
        """The registers that drive the operands, by pin, where all of them may lie in the block."""
        found, controls = {}, set()
        for pin, (bit,) in block["connections"].items():
            if not _OPERAND.fullmatch(pin) or bit in ("0", "x"):
                continue
            name, _ = self.driver.get(bit, ("", ""))
            if not name or self.cells[name]["type"] != _REGISTER:
                return None, {}
            found[pin] = name
            controls.add(self.control(self.cells[name]))
        control = controls.pop() if len(controls) == 1 else None
        return control, found

    def behind(self, block: dict[str, Any]) -> tuple[Control | None, dict[str, str]]:
        """The registers that take the result and nothing else does, by pin."""
        found, controls = {}, set()
        for pin, (bit,) in block["connections"].items():
            if not _RESULT.fullmatch(pin) or not (sinks := self.sinks.get(bit, [])):
                continue
            name, port = sinks[0]
            if len(sinks) > 1 or bit in self.kept or self.cells[name]["type"] != _REGISTER or port != "DI":
                return None, {}
            found[pin] = name
            controls.add(self.control(self.cells[name]))
        control = controls.pop() if len(controls) == 1 else None
        return control, found


def pack_registers(module: dict[str, Any]) -> Packed:
    """Moves registers into the multipliers of a flat module of Yosys' JSON, in place.

    A block takes the registers before its operands, if each operand bit has one (what else they drive keeps a
    copy), and those behind its result, if nothing else reads it; all of them with one clock and one enable,
    never reset, 0 at first. A constant of 1 as operand would not be one at first: such a block stays.
    """
    blocks = [(name, cell) for name, cell in module["cells"].items() if cell["type"] == _BLOCK]
    if not blocks:
        return Packed()
    net, packed = _Netlist(module), Packed()
    for name, block in blocks:
        if block["parameters"]:
            continue
        first, operands = net.before(block)
        last, results = net.behind(block)
        if first is not None and last is not None and first != last:
            last = None
        control = first or last
        if control is None:
            continue
        pins, settings = block["connections"], block["parameters"]
        if first is not None:
            for pin, register in operands.items():
                net.reach_through(name, pin, register)
        if last is not None:
            for pin, register in results.items():
                net.take_over(name, pin, register)
        for stage, used in (("INPUTA", first), ("INPUTB", first), ("OUTPUT", last)):
            if used is not None:
                settings |= {f"REG_{stage}_CLK": "CLK0", f"REG_{stage}_CE": "CE0",
                             f"REG_{stage}_RST": "RST0"}  # fmt: skip
        settings["GSR"] = "DISABLED"
        pins |= {"CLK0": [control[0]], "CE0": [net.enable(control)], "RST0": ["0"]}
        block["port_directions"] |= dict.fromkeys(("CLK0", "CE0", "RST0"), "input")
        packed.operands += last is None
        packed.results += first is None
        packed.both += first is not None and last is not None
    packed.registers = net.removed
    return packed
