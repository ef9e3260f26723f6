"""Memory of partial sums."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .machine import MachineConfig
from .ports import AccumulatorRead
from .ternary_engine import row_layout

__all__ = ["Accumulator"]

SUM_BITS = 32


class Accumulator(wiring.Component):
    """Adds the sums of chunks to int32 partial sums, one row a cycle, whatever the order of rows.

    Row r lies in bank r modulo ``lanes``, so that the reader gets ``lanes`` rows in a cycle. A row is read
    in one cycle, added and written in the next; the same row twice in succession is forwarded. The reader has
    read ports of its own (block RAM: twice the blocks): it reads one vector while the next is summed.

    Parameters
    ----------
    config : MachineConfig
        ``accumulator_rows`` sums in ``lanes`` banks.
    width : int
        Bits of a chunk's sum.

    Members
    -------
    sum : In(signed(width))
        A chunk's sum.
    row : In(row_layout())
        Where it is added, or written if ``first``.
    read : In(AccumulatorRead(lanes))
        Reads neighbouring sums. A sum written in the cycle of its address is read as before.
    done : Out(1)
        One cycle after ``row.done``: that sum is being written.
    """

    def __init__(self, config: MachineConfig, width: int) -> None:
        self.config = config
        super().__init__({
            "sum": In(signed(width)),
            "row": In(row_layout()),
            "read": In(AccumulatorRead(config.lanes)),
            "done": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self.config.lanes
        bank_bits = (lanes - 1).bit_length()

        row = Signal(row_layout())
        addend = Signal.like(self.sum)
        again = Signal()
        before = Signal(signed(SUM_BITS))
        after = Signal(signed(SUM_BITS))
        written = Signal(signed(SUM_BITS))

        stored = []
        read_data = []
        for bank in range(lanes):
            # No port needs a defined answer to a read of what is being written.
            m.submodules[f"bank{bank}"] = memory = Memory(  # pyright: ignore[reportCallIssue]  as `attrs`
                shape=unsigned(SUM_BITS),
                depth=max(1, self.config.accumulator_rows // lanes),
                init=[],
                attrs={"no_rw_check": 1},  # pyright: ignore[reportArgumentType]  may be an integer
            )
            old = memory.read_port()
            m.d.comb += old.addr.eq(self.row.row[bank_bits:])
            stored.append(old.data)

            port = memory.write_port()
            m.d.comb += [
                port.en.eq(row.valid & (row.row[:bank_bits] == bank)),
                port.addr.eq(row.row[bank_bits:]),
                port.data.eq(after),
            ]

            reader = memory.read_port()
            m.d.comb += [reader.en.eq(self.read.en), reader.addr.eq(self.read.address[bank_bits:])]
            read_data.append(reader.data)

        m.d.sync += [
            row.eq(self.row),
            addend.eq(self.sum),
            again.eq(row.valid & (row.row == self.row.row)),
        ]
        m.d.comb += [
            before.eq(Mux(again, written, Array(stored)[row.row[:bank_bits]])),
            after.eq(Mux(row.first, 0, before) + addend),
            self.done.eq(row.valid & row.done),
            self.read.data.eq(Cat(*read_data)),
        ]
        m.d.sync += written.eq(after)
        return m
