"""A staged K or V row of one token of the tile, read like the tape."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .head_geometry import unit_bytes
from .machine import MachineConfig
from .ports import TOKEN_BITS, StageRead, TapePort

__all__ = ["StageFeed"]


class StageFeed(wiring.Component):
    """Byte-granular reading of a staged row, from its first byte on, through the port of a tape.

    Words of ``attention_bytes`` are requested as long as the buffer has room, which is enough for a word a
    cycle even when pairs of scales and short parts leave the words out of step. The first bytes are there
    three cycles after ``start``. It reads past the end of the row, whose length it does not know; the next
    ``start`` drops what is left.

    Parameters
    ----------
    config : MachineConfig
        Machine.

    Members
    -------
    start : In(1)
        Begin anew, at byte 0 of the row that ``token`` and ``value`` select.
    token, value : In(TOKEN_BITS), In(1)
        Whose row; 0: K row, 1: V row. Taken together with ``start``.
    stage : Out(StageRead)
        The stage memory.
    tape : In(TapePort)
        The bytes. ``want`` must be a multiple of the least of ``attention_bytes``, ``lanes`` and 8.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "token": In(TOKEN_BITS),
                "value": In(1),
                "stage": Out(StageRead(config.attention_bytes)),
                "tape": In(TapePort(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        word = self.config.attention_bytes
        window = max(word, 8)
        unit = min(unit_bytes(self.config), 8)
        room = 2 * window + word - unit

        # Bytes held, counted in units, as all takes and words are multiples of it.
        running = Signal()
        arriving = Signal()
        address = Signal(16)
        held = Signal(range(room // unit + 1))
        kept = Signal.like(held)
        following = Signal.like(held)
        request = Signal()
        want = self.tape.want[unit.bit_length() - 1 :]
        m.d.comb += [
            kept.eq(Mux(self.tape.take, held - want, held)),
            following.eq(kept + Mux(arriving, word // unit, 0)),
            request.eq(running & (following <= (room - word) // unit)),
            self.stage.en.eq(request),
            self.stage.address.eq(address),
        ]
        m.d.sync += [
            arriving.eq(request),
            held.eq(following),
        ]
        with m.If(request):
            m.d.sync += address.eq(address + word)

        buffer = Signal(8 * room)
        rest = Signal.like(buffer)
        m.d.comb += rest.eq(
            Mux(self.tape.take, buffer >> Cat(Const(0, (8 * unit).bit_length() - 1), want), buffer)
        )
        m.d.sync += buffer.eq(rest)
        with m.If(arriving), m.Switch(kept):
            for position in range((room - word) // unit + 1):
                with m.Case(position):
                    m.d.sync += buffer[8 * unit * position :][: 8 * word].eq(self.stage.data)

        with m.If(self.start):
            m.d.sync += [
                running.eq(1),
                self.stage.token.eq(self.token),
                self.stage.value.eq(self.value),
                address.eq(0),
                arriving.eq(0),
                held.eq(0),
            ]

        m.d.comb += [
            self.tape.data.eq(buffer[: 8 * window]),
            self.tape.enough.eq(held >= want),
        ]
        return m
