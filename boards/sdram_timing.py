"""Times of an SDR SDRAM chip and its pins."""

import enum
import math
from dataclasses import dataclass

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ULX3S_SDRAM", "SdramCommand", "SdramPins", "SdramTiming"]


class SdramCommand(enum.IntEnum):
    """{cs_n, ras_n, cas_n, we_n}, the last one lowest."""

    MODE = 0b0000
    REFRESH = 0b0001
    PRECHARGE = 0b0010
    ACTIVE = 0b0011
    WRITE = 0b0100
    READ = 0b0101
    NOP = 0b0111


@dataclass(frozen=True)
class SdramTiming:
    """A 16-bit SDR SDRAM of 4 banks; times in ns, the least that the data sheet permits (`t_refi`: the most).

    The defaults are the slowest of the chips that are mounted on ULX3S boards (Winbond W9825G6KH-6, ISSI
    IS42S16160G-7, AllianceMemory AS4C16M16SA-7), so one bitstream serves all. docs/link.md has the table.
    """

    #: 4 banks of so many rows of so many 16-bit columns.
    rows: int = 8192
    columns: int = 512
    #: ACTIVE to READ or WRITE; PRECHARGE to ACTIVE; ACTIVE to PRECHARGE; ACTIVE to ACTIVE of one bank, of
    #: two; last data written to PRECHARGE; REFRESH to the next command.
    t_rcd: float = 20
    t_rp: float = 20
    t_ras: float = 45
    t_rc: float = 70
    t_rrd: float = 15
    t_wr: float = 20
    t_rfc: float = 70
    #: Between two REFRESH on average: 64 ms for 8192 rows.
    t_refi: float = 64e6 / 8192
    #: Power-up to the first command; it needs a stable clock.
    init_us: float = 200
    #: CAS latency and the clocks after MODE REGISTER SET.
    cas_latency: int = 3
    mode_clocks: int = 2
    #: REFRESHes before MODE REGISTER SET.
    init_refreshes: int = 8
    #: Clocks that the board adds between the chip's data and the controller (input registers, clock phase).
    extra_latency: int = 0

    def __post_init__(self) -> None:
        if self.cas_latency not in (2, 3):
            raise ValueError(
                f"cas_latency: wanted 2 or 3, found {self.cas_latency}; see the chip's data sheet"
            )
        if self.rows > 8192 or self.columns not in (256, 512):
            raise ValueError(
                f"rows, columns: wanted at most 8192 and 256 or 512, found {self.rows}, {self.columns}; "
                "the address pins are 13, A10 is for PRECHARGE"
            )

    @property
    def size(self) -> int:
        """Bytes of the chip."""
        return 4 * self.rows * self.columns * 2

    def clocks(self, name: str, clock_mhz: float) -> int:
        """A time in clock cycles, rounded up; `t_refi` down, `init_us` up."""
        value = getattr(self, name) * (1000 if name == "init_us" else 1) * clock_mhz / 1000
        return math.floor(value) if name == "t_refi" else max(1, math.ceil(value - 1e-9))

    @property
    def mode(self) -> int:
        """Mode register: sequential bursts of 2, writes too."""
        return 0b001 | self.cas_latency << 4


#: What `boards.top` uses if nothing else is said.
ULX3S_SDRAM = SdramTiming()


class SdramPins(wiring.Signature):
    """Pins of the chip but its clock, which the board makes. Seen from the controller; all outputs come from
    registers of the controller's clock.

    Members: a (13), ba (2), cs_n, ras_n, cas_n, we_n, dqm (2), cke, dq_o (16), dq_oe: Out; dq_i (16): In.
    """

    def __init__(self):
        high = Out(1, init=1)  # pyright: ignore[reportCallIssue]  Member takes it
        super().__init__(
            {
                "a": Out(13),
                "ba": Out(2),
                "cs_n": high,
                "ras_n": high,
                "cas_n": high,
                "we_n": high,
                "dqm": Out(2, init=3),  # pyright: ignore[reportCallIssue]
                "cke": high,
                "dq_o": Out(16),
                "dq_oe": Out(1),
                "dq_i": In(16),
            }
        )
