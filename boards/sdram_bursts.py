"""AXI4 bursts to an SDRAM: who is next, and its parts that lie in one row."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hw.axi4 import MAX_BEATS, WritePort, address_layout

from .sdram_timing import SdramTiming

__all__ = ["SdramBursts", "part_layout"]

#: Write bursts whose response is outstanding, at most.
WRITES = 4


def part_layout(timing: SdramTiming) -> data.StructLayout:
    """Part of a burst in one row: `beats` - 1 of 4 bytes from beat `beat` of the row on.

    last: it ends its burst. outside: no such address; nothing is written, the response is DECERR.
    """
    return data.StructLayout(
        {
            "beat": range(timing.columns // 2),
            "bank": 2,
            "row": range(timing.rows),
            "beats": 8,
            "write": 1,
            "last": 1,
            "outside": 1,
        }
    )


class SdramBursts(wiring.Component):
    """The address and write-data channels of the controller.

    A write burst takes its turn when all its data are here, so a slow writer holds up nobody. Reads go first,
    but for a write that has waited `patience` cycles. The order of the parts is the order of memory: a burst
    sees what those before it in that order wrote.

    Parameters
    ----------
    timing : SdramTiming
    patience : int
        Cycles that a complete write burst waits for reads.

    Members
    -------
    ar : stream of `hw.axi4.address_layout`
    write : WritePort(4) (from its other side)
    part : stream of `part_layout`
        Cut at rows of 1 KiB or 512 bytes: one or several a burst.
    beat, strobes, beat_valid, beat_taken : Out(32), Out(4), Out(1), In(1)
        Write data, in the order of the parts.
    answer, answer_outside : In(1)
        Pulse: a write burst is in memory.

    Latency: address to part 2 cycles; last beat of a write to its part 3 cycles.
    """

    def __init__(self, timing: SdramTiming, patience: int = 256):
        self.timing, self.patience = timing, patience
        super().__init__(
            {
                "ar": In(stream.Signature(address_layout())),
                "write": In(WritePort(4)),
                "part": Out(stream.Signature(part_layout(timing))),
                "beat": Out(32),
                "strobes": Out(4),
                "beat_valid": Out(1),
                "beat_taken": In(1),
                "answer": In(1),
                "answer_outside": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        timing, write = self.timing, self.write
        m.submodules.addresses = addresses = SyncFIFOBuffered(width=address_layout().size, depth=WRITES)
        m.submodules.beats = beats = SyncFIFOBuffered(width=36, depth=2 * MAX_BEATS)
        m.submodules.answers = answers = SyncFIFOBuffered(width=2, depth=WRITES)

        # Write channels. Data are taken after their address; `whole` bursts have all of theirs.
        opened, owed, whole = (Signal(range(WRITES + 1)) for _ in range(3))
        aw, w_last, answered, begin_write = Signal(), Signal(), Signal(), Signal()
        w = write.w.payload
        m.d.comb += [
            write.aw.ready.eq((opened != WRITES) & addresses.w_rdy),
            aw.eq(write.aw.valid & write.aw.ready),
            addresses.w_en.eq(aw),
            addresses.w_data.eq(write.aw.payload),
            write.w.ready.eq((owed != 0) & beats.w_rdy),
            beats.w_en.eq(write.w.valid & (owed != 0)),
            beats.w_data.eq(Cat(w.data, w.strb)),
            w_last.eq(write.w.valid & write.w.ready & w.last),
            Cat(self.beat, self.strobes).eq(beats.r_data),
            self.beat_valid.eq(beats.r_rdy),
            beats.r_en.eq(self.beat_taken),
            answers.w_en.eq(self.answer),
            answers.w_data.eq(Mux(self.answer_outside, 3, 0)),
            write.b.valid.eq(answers.r_rdy),
            write.b.payload.eq(answers.r_data),
            answers.r_en.eq(write.b.ready),
            answered.eq(write.b.valid & write.b.ready),
        ]
        m.d.sync += [
            opened.eq(opened + aw - answered),
            owed.eq(owed + aw - w_last),
            whole.eq(whole + w_last - begin_write),
        ]

        # The next burst. Two bursts are two cycles apart or more, so the choice may come a cycle late.
        patience = Signal(range(self.patience + 1), init=self.patience)
        write_waits, out_of_patience, write_next = Signal(), Signal(), Signal()
        m.d.comb += write_waits.eq((whole != 0) & addresses.r_rdy)
        m.d.sync += [
            out_of_patience.eq(write_waits & (patience == 0)),
            write_next.eq(write_waits & (out_of_patience | ~self.ar.valid)),
        ]
        with m.If(begin_write | ~write_waits):
            m.d.sync += patience.eq(self.patience)
        with m.Elif(patience != 0):
            m.d.sync += patience.eq(patience - 1)

        row_beats = timing.columns // 2
        column_bits = (row_beats - 1).bit_length()
        bits = column_bits + 2 + (timing.rows - 1).bit_length()
        address, left = Signal(30), Signal(range(MAX_BEATS))
        writing, free = Signal(), Signal(init=1)
        asked = Signal(address_layout())
        m.d.comb += [
            asked.eq(Mux(write_next, addresses.r_data, self.ar.payload.as_value())),
            self.ar.ready.eq(free & ~write_next),
            begin_write.eq(free & write_next),
            addresses.r_en.eq(begin_write),
        ]
        with m.If(free):
            m.d.sync += [
                address.eq(asked.addr >> 2), left.eq(asked.len), writing.eq(write_next),
                free.eq(~(write_next | self.ar.valid)),
            ]  # fmt: skip

        # Its parts: `left` + 1 beats from `address` on; what goes over the row's end begins the next row.
        end, cut = Signal(range(row_beats + MAX_BEATS)), Signal()
        part, valid = Signal(part_layout(timing)), Signal()
        column, row = address[:column_bits], address[column_bits:]
        m.d.comb += [
            end.eq(column + left),
            cut.eq(end[column_bits:] != 0),
            self.part.payload.eq(part),
            self.part.valid.eq(valid),
        ]
        with m.If(self.part.ready):
            m.d.sync += valid.eq(0)
        with m.If(~free & ~valid):
            m.d.sync += [
                valid.eq(1),
                part.beat.eq(column),
                Cat(part.bank, part.row).eq(row),
                part.beats.eq(Mux(cut, ~column, left)),
                part.write.eq(writing),
                part.last.eq(~cut),
                part.outside.eq(address[bits:] != 0),
                address.eq(Cat(Const(0, column_bits), row + 1)),
                left.eq(Cat(end[:column_bits], end[column_bits:] - 1)),
                free.eq(~cut),
            ]
        return m
