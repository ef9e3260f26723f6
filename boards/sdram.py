"""SDR SDRAM controller behind AXI4."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.data import View
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.axi4 import ReadPort, WritePort, read_layout

from .sdram_banks import SdramBanks
from .sdram_bursts import SdramBursts, part_layout
from .sdram_refresh import LATE, SdramRefresh
from .sdram_timing import ULX3S_SDRAM, SdramCommand, SdramPins, SdramTiming

__all__ = ["SdramController"]

#: Beats on their way to the reader.
_READ_AHEAD = 16


class SdramController(wiring.Component):
    """One 16-bit chip of 4 banks (JEDEC standard 21-C, 3.11.5: SDR SDRAM), 4 bytes a beat.

    Budget: the chip moves 2 bytes in a clock; a beat is one READ or WRITE with a burst of 2 and takes two
    clocks. The clocks between are free for PRECHARGE and ACTIVE of the next part, which thereby is open when
    its turn comes: rows are interleaved over the banks, so sequential reads move 2 bytes every clock but for
    refresh (about 16 of each 590 clocks at 80 MHz: 0.97 of the peak; asserted: 0.95).

    Latency, clocks from address to first beat without other work, L the CAS latency: 12 + L where the row is
    open, 11 + L + tRCD where none is, 11 + L + max(tRP, 2) + tRCD where another one is.

    Rows stay open. `current` moves data; `following` is prepared, unless it needs another row of the same
    bank. Refresh stops both, closes all banks and lets them open their rows again.

    Parameters
    ----------
    clock_mhz : float
    timing : SdramTiming

    Members
    -------
    read : ReadPort(4), write : WritePort(4) (from their other sides)
        Any burst of `hw.axi4`. Addresses beyond the chip are answered with DECERR.
    pins : SdramPins
    ready : Out(1)
        The chip is initialised.

    The component may be reset at any time; it does not wait for `init_us` again.
    """

    def __init__(self, clock_mhz: float, timing: SdramTiming = ULX3S_SDRAM):
        self.clock_mhz, self.timing = clock_mhz, timing
        if (interval := timing.clocks("t_refi", clock_mhz)) < 4 * LATE:
            raise ValueError(
                f"clock_mhz: wanted a refresh interval of {4 * LATE} clocks or more, found {interval}; "
                "raise the clock"
            )
        super().__init__(
            {
                "read": In(ReadPort(4)),
                "write": In(WritePort(4)),
                "pins": Out(SdramPins()),
                "ready": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.bursts = bursts = SdramBursts(self.timing)
        m.submodules.banks = banks = SdramBanks(self.clock_mhz, self.timing)
        m.submodules.refresh = refresh = SdramRefresh(self.clock_mhz, self.timing)
        connect(m, flipped(self.write), bursts.write)
        connect(m, flipped(self.read.ar), bursts.ar)

        # The two parts. `opened`: its row is open and stays so until the part is done. `seen`: `banks` looked
        # at it in the cycle before, and nothing has happened since.
        layout, n = part_layout(self.timing), range(2)
        current, following = parts = [Signal(layout, name=name) for name in ("current", "following")]
        valid, opened, seen = ([Signal(name=f"{what}{i}") for i in n] for what in ("valid", "opened", "seen"))
        opens, wants = [Signal(name=f"opens{i}") for i in n], [Signal(name=f"wants{i}") for i in n]
        # Clocks that the part's own ACTIVE makes its first column command wait.
        wait = [Signal(self.timing.clocks("t_rcd", self.clock_mhz) - 1, name=f"wait{i}") for i in n]
        column, issued, done, ending, apart = (Signal() for _ in range(5))
        gap, credit, turning = Signal(), Signal(), Signal(self.timing.cas_latency + 2)
        m.d.comb += apart.eq(~valid[0] | (following.bank != current.bank))
        for i, part in enumerate(parts):
            m.d.comb += [banks.look_bank[i].eq(part.bank), banks.look_row[i].eq(part.row)]
            m.d.sync += [
                wait[i].eq((wait[i] >> 1) | banks.activate[i].replicate(len(wait[i]))),
                seen[i].eq(~issued & ~refresh.busy), opened[i].eq(opens[i] & ~refresh.busy),
            ]  # fmt: skip

        # Row commands: the current part's; the following one's when the current one has its row, in clocks
        # that have no column command for a reason known from registers.
        still = ~valid[0] | opened[0] & (gap | Mux(current.write, turning[0], ~credit))
        for i in n:
            settled = seen[i] & banks.hit[i] & ((apart | opened[0]) if i else 1)
            free = (apart & still) if i else 1
            wanted = valid[i] & ~opened[i] & seen[i] & ~refresh.busy & free
            m.d.comb += [
                wants[i].eq(wanted & (banks.can_close[i] | banks.can_activate[i])),
                banks.close[i].eq(wanted & banks.can_close[i]),
                banks.activate[i].eq(wanted & banks.can_activate[i]),
                opens[i].eq(valid[i] & (opened[i] | settled) | banks.activate[i]),
            ]
        m.d.comb += issued.eq(wants[0] | wants[1])

        # Column commands: at most every second clock, so flags may be a clock late; a WRITE when the bus has
        # turned round.
        credits = Signal(range(_READ_AHEAD + 1), init=_READ_AHEAD)
        m.d.comb += [
            column.eq(
                opened[0] & ~wait[0][:1].any() & ~gap & ~refresh.busy
                & Mux(current.write, bursts.beat_valid & ~turning[0], credit)
            ),
            done.eq(column & ending),
        ]  # fmt: skip
        m.d.sync += [gap.eq(column), credit.eq(credits != 0), turning.eq(turning >> 1)]
        with m.If(column):
            m.d.sync += [
                current.beat.eq(current.beat + 1), current.beats.eq(current.beats - 1),
                ending.eq(current.beats == 1),
            ]  # fmt: skip
            with m.If(~current.write):
                m.d.sync += turning.eq(~0)

        # Parts move up.
        move, load = done | ~valid[0], bursts.part.ready
        m.d.comb += load.eq(move | ~valid[1])
        with m.If(move):
            m.d.sync += [
                current.eq(following), valid[0].eq(valid[1]), seen[0].eq(0), ending.eq(following.beats == 0),
                opened[0].eq(opens[1] & ~refresh.busy),
                wait[0].eq((wait[1] >> 1) | banks.activate[1].replicate(len(wait[1]))),
            ]  # fmt: skip
        with m.If(load):
            m.d.sync += [
                following.eq(bursts.part.payload), valid[1].eq(bursts.part.valid), seen[1].eq(0),
                opened[1].eq(0),
            ]  # fmt: skip

        m.d.comb += [
            banks.read.eq(column & ~current.write),
            banks.write.eq(column & current.write),
            banks.close_all.eq(refresh.close_all),
            refresh.quiet.eq(banks.idle & ~gap),
            refresh.closed.eq(banks.closed),
            self.ready.eq(refresh.ready),
        ]
        reads = self._pins(m, refresh, banks, bursts, parts, column, ending)
        self._read_data(m, reads, banks.read, credits)
        return m

    def _pins(
        self, m: Module, refresh: SdramRefresh, banks: SdramBanks, bursts: SdramBursts, parts: list[View],
        column: Signal, ending: Signal,
    ) -> Value:  # fmt: skip
        """What was decided is kept for a cycle, then goes to the output registers; the second word of a WRITE
        follows the first. Returns {a READ goes there, it ends its burst, outside}."""
        pins, command, address, bank = self.pins, Signal(4), Signal(13), Signal(2)
        current, own = parts[0], banks.activate[0] | banks.close[0]
        names = ("reading", "begin", "activating", "closing", "ends", "outside", "writing")
        reading, begin, activating, closing, ends, outside, writing = (Signal(name=name) for name in names)
        beat, row, other_row = Signal(9), Signal(13), Signal(13)
        other = Signal(4, init=SdramCommand.NOP)
        m.d.sync += [
            reading.eq(column & ~current.write),
            begin.eq(column & current.write),
            activating.eq(banks.activate.any()),
            closing.eq(banks.close.any()),
            other.eq(refresh.command),
            other_row.eq(refresh.address),
            beat.eq(current.beat << 1),
            row.eq(Mux(own, current.row, parts[1].row)),
            bank.eq(Mux(refresh.busy, 0, Mux(own | column, current.bank, parts[1].bank))),
            outside.eq(current.outside),
            ends.eq(current.last & ending),
        ]
        m.d.comb += [command.eq(other), address.eq(other_row)]
        with m.If(reading | begin):
            m.d.comb += [command.eq(Mux(begin, SdramCommand.WRITE, SdramCommand.READ)), address.eq(beat)]
        with m.Elif(activating):
            m.d.comb += [command.eq(SdramCommand.ACTIVE), address.eq(row)]
        with m.Elif(closing):
            m.d.comb += [command.eq(SdramCommand.PRECHARGE), address.eq(0)]
        high, high_mask, mask = Signal(16), Signal(2), Mux(outside, 0b1111, ~bursts.strobes)
        m.d.comb += [
            bursts.beat_taken.eq(begin),
            bursts.answer.eq(begin & ends),
            bursts.answer_outside.eq(outside),
        ]
        m.d.sync += [
            Cat(pins.we_n, pins.cas_n, pins.ras_n, pins.cs_n).eq(command),
            pins.a.eq(address),
            pins.ba.eq(bank),
            writing.eq(begin),
            high.eq(bursts.beat[16:]),
            high_mask.eq(mask[2:]),
            pins.dq_oe.eq(begin | writing),
            pins.dq_o.eq(Mux(writing, high, bursts.beat[:16])),
            pins.dqm.eq(Mux(writing, high_mask, Mux(begin, mask[:2], Mux(self.ready, 0, 3)))),
        ]
        return Cat(reading, ends, outside)

    def _read_data(self, m: Module, stage: Value, taken: Value, credits: Signal) -> None:
        """From READ to the R channel: the chip's latency, two words to a beat, a FIFO. stage: {a READ goes to
        the pins' registers, it ends its burst, outside}; taken: a READ was decided on."""
        layout, r = read_layout(4), self.read.r
        m.submodules.beats = beats = SyncFIFOBuffered(width=layout.size, depth=_READ_AHEAD)
        word, low = Signal(16), Signal(16)
        m.d.sync += [word.eq(self.pins.dq_i), low.eq(word)]
        for i in range(self.timing.cas_latency + 3 + self.timing.extra_latency):
            later = Signal(3, name=f"read{i}")
            m.d.sync += later.eq(stage)
            stage = later
        beat = Signal(layout)
        m.d.comb += [
            beat.data.eq(Cat(low, word)),
            beat.last.eq(stage[1]),
            beat.resp.eq(Mux(stage[2], 3, 0)),
            beats.w_data.eq(beat),
            beats.w_en.eq(stage[0]),
            r.valid.eq(beats.r_rdy),
            r.payload.eq(beats.r_data),
            beats.r_en.eq(r.ready),
        ]
        m.d.sync += credits.eq(credits - taken + (r.valid & r.ready))
