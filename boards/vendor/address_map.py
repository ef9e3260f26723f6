"""Where registers and memory are, said once: Tcl, kernel description and host program read it here."""

from dataclasses import dataclass
from typing import Self

from hw.isa import CSR_INDEX
from hw.machine import MachineConfig

from ..runtime.registers import BANK_REGISTERS, byte_offset
from .axi_top import CONTROL_BITS

__all__ = ["BANK_REGISTERS", "U280_BANK", "AddressMap", "register_offset"]

#: Bytes of a pseudo-channel of the U280's HBM (8 GB in 32).
U280_BANK = 256 << 20


def register_offset(name: str) -> int:
    """Byte offset of a register of `hw.isa.CSRS` on the AXI4-Lite port."""
    return byte_offset(CSR_INDEX[name])


@dataclass(frozen=True)
class AddressMap:
    """What host and machine must agree on.

    control: address of the registers as the host sees it. control_size: bytes of their window. memory,
    memory_size: the range in which the machine's memory lies, as its ports see it. banks: see `Banks`; 0 is
    one piece.
    """

    machine: str
    digest: str
    control: int
    control_size: int
    memory: int
    memory_size: int
    banks: int = 0

    @classmethod
    def of(cls, machine: MachineConfig, control: int, memory: int, memory_size: int, banks: int = 0) -> Self:
        """Of a machine behind `AxiTop`."""
        return cls(machine.name, machine.digest(), control, 1 << CONTROL_BITS, memory, memory_size, banks)

    def to_json(self) -> dict[str, object]:
        """Plain values; addresses as hexadecimal text."""
        return {
            "machine": self.machine,
            "digest": self.digest,
            "control": hex(self.control),
            "control_size": hex(self.control_size),
            "memory": hex(self.memory),
            "memory_size": hex(self.memory_size),
            "banks": self.banks,
        }

    @classmethod
    def from_json(cls, values: dict[str, object]) -> Self:
        """From `to_json`. ValueError: what is missing or of another kind."""
        try:
            numbers = {name: int(str(values[name]), 16)
                       for name in ("control", "control_size", "memory", "memory_size")}  # fmt: skip
            return cls(
                str(values["machine"]), str(values["digest"]), **numbers, banks=int(str(values["banks"]))
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"wanted an address map as trine build writes it, found {error}; build the project again"
            ) from error
