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

    Latency, clocks from address to first beat without other work, L the CAS latency: 11 + L where the row is
    open, 10 + L + tRCD where none is, 10 + L + max(tRP, 2) + tRCD where another one is.

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
        opens = [Signal(name=f"opens{i}") for i in n]
        column, issued, done = Signal(), Signal(), Signal()
        apart = ~valid[0] | (following.bank != current.bank)
        for i, part in enumerate(parts):
            m.d.comb += [banks.look_bank[i].eq(part.bank), banks.look_row[i].eq(part.row)]
            m.d.sync += [seen[i].eq(~issued & ~refresh.busy), opened[i].eq(opens[i] & ~refresh.busy)]

        # Row commands: the current part's first, in clocks without a column command.
        target, close, activate = Signal(layout), Signal(), Signal()
        wants = []
        for i, part in enumerate(parts):
            free = apart if i else 1
            wanted = valid[i] & ~opened[i] & seen[i] & free & ~column & ~refresh.busy
            wants.append((
                wanted & banks.other[i] & banks.may_close.bit_select(part.bank, 1),
                wanted & ~banks.hit[i] & ~banks.other[i] & banks.may_activate.bit_select(part.bank, 1),
            ))  # fmt: skip
            settled = seen[i] & banks.hit[i] & ((apart | opened[0]) if i else 1)
            m.d.comb += opens[i].eq(valid[i] & (opened[i] | settled))
        for i in reversed(n):
            with m.If(wants[i][0] | wants[i][1]):
                m.d.comb += [target.eq(parts[i]), close.eq(wants[i][0]), activate.eq(wants[i][1])]
        with m.If(activate):
            mine = wants[0][0] | wants[0][1]
            with m.If(mine):
                m.d.comb += opens[0].eq(1)
            with m.Else():
                m.d.comb += opens[1].eq(1)
        m.d.comb += issued.eq(close | activate)

        # Column commands: at most every second clock; a WRITE when the bus has turned round.
        gap, turn = Signal(), Signal(range(self.timing.cas_latency + 3))
        credits = Signal(range(_READ_AHEAD + 1), init=_READ_AHEAD)
        m.d.comb += [
            column.eq(
                valid[0] & opened[0] & ~gap & ~refresh.busy & banks.may_access.bit_select(current.bank, 1)
                & Mux(current.write, bursts.beat_valid & (turn == 0), credits != 0)
            ),
            done.eq(column & (current.beats == 0)),
        ]  # fmt: skip
        m.d.sync += gap.eq(column)
        with m.If(turn != 0):
            m.d.sync += turn.eq(turn - 1)
        with m.If(column):
            m.d.sync += [current.beat.eq(current.beat + 1), current.beats.eq(current.beats - 1)]
            with m.If(~current.write):
                m.d.sync += turn.eq(self.timing.cas_latency + 2)

        # Parts move up.
        move, load = done | ~valid[0], bursts.part.ready
        m.d.comb += load.eq(move | ~valid[1])
        with m.If(move):
            m.d.sync += [
                current.eq(following), valid[0].eq(valid[1]), seen[0].eq(0),
                opened[0].eq(opens[1] & ~refresh.busy),
            ]  # fmt: skip
        with m.If(load):
            m.d.sync += [
                following.eq(bursts.part.payload), valid[1].eq(bursts.part.valid), seen[1].eq(0),
                opened[1].eq(0),
            ]  # fmt: skip

        m.d.comb += [
            bursts.beat_taken.eq(column & current.write),
            bursts.answer.eq(done & current.write & current.last),
            bursts.answer_outside.eq(current.outside),
            banks.activate.eq(activate),
            banks.close.eq(close),
            banks.read.eq(column & ~current.write),
            banks.write.eq(column & current.write),
            banks.close_all.eq(refresh.close_all),
            banks.bank.eq(Mux(column, current.bank, target.bank)),
            banks.row.eq(target.row),
            refresh.quiet.eq(banks.may_close.all() & ~gap),
            refresh.closed.eq(banks.may_activate.all()),
            self.ready.eq(refresh.ready),
        ]
        self._pins(m, refresh, banks, bursts, current, column)
        self._read_data(m, current, column, credits)
        return m

    def _pins(
        self, m: Module, refresh: SdramRefresh, banks: SdramBanks, bursts: SdramBursts, current: View,
        column: Signal,
    ) -> None:  # fmt: skip
        """Output registers; the second word of a WRITE follows the first."""
        pins, command, address = self.pins, Signal(4), Signal(13)
        m.d.comb += [command.eq(SdramCommand.NOP), address.eq(banks.row)]
        with m.If(refresh.busy):
            m.d.comb += [command.eq(refresh.command), address.eq(refresh.address)]
        with m.Elif(column):
            m.d.comb += command.eq(Mux(current.write, SdramCommand.WRITE, SdramCommand.READ))
            m.d.comb += address.eq(current.beat << 1)
        with m.Elif(banks.activate):
            m.d.comb += command.eq(SdramCommand.ACTIVE)
        with m.Elif(banks.close):
            m.d.comb += [command.eq(SdramCommand.PRECHARGE), address[10].eq(0)]
        writing, high, high_mask = Signal(), Signal(16), Signal(2)
        begin, mask = column & current.write, Mux(current.outside, 0b1111, ~bursts.strobes)
        m.d.sync += [
            Cat(pins.we_n, pins.cas_n, pins.ras_n, pins.cs_n).eq(command),
            pins.a.eq(address),
            pins.ba.eq(banks.bank),
            writing.eq(begin),
            high.eq(bursts.beat[16:]),
            high_mask.eq(mask[2:]),
            pins.dq_oe.eq(begin | writing),
            pins.dq_o.eq(Mux(writing, high, bursts.beat[:16])),
            pins.dqm.eq(Mux(writing, high_mask, Mux(begin, mask[:2], Mux(self.ready, 0, 3)))),
        ]

    def _read_data(self, m: Module, current: View, column: Signal, credits: Signal) -> None:
        """From READ to the R channel: the chip's latency, two words to a beat, a FIFO."""
        layout, r = read_layout(4), self.read.r
        m.submodules.beats = beats = SyncFIFOBuffered(width=layout.size, depth=_READ_AHEAD)
        word, low = Signal(16), Signal(16)
        m.d.sync += [word.eq(self.pins.dq_i), low.eq(word)]
        # {READ, ends its burst, outside}, from the cycle of the command to the one with both words here.
        stage: Value = Cat(column & ~current.write, current.last & (current.beats == 0), current.outside)
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
        m.d.sync += credits.eq(credits - (column & ~current.write) + (r.valid & r.ready))
