"""A staged K or V row of one token of the tile, read like the tape, a few bytes a cycle."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .head_geometry import unit_bytes
from .lut_greater import LutGreater
from .machine import MachineConfig
from .ports import TOKEN_BITS, StageRead, TapePort
from .shared import shared

__all__ = ["NarrowFeed"]

#: Units that are read beyond what is wanted: two words, so that a word can come in each cycle.
_AHEAD = 4


class NarrowFeed(wiring.Component):
    """As `StageFeed`, of a stage whose words are two units (`unit_bytes`), for one who says what it wants.

    Words come while less than that and two words are held or on their way. So a take leaves five units at
    most: the last ones that came, which are kept a second time by age. Nothing else is shifted, and what
    depends on the take, which is known late, is one choice for each unit. A word a cycle; the first one is
    there 2 cycles after ``start``.

    Parameters
    ----------
    config : MachineConfig
        Machine; ``stage_word`` is two units.

    Members
    -------
    start : In(1)
        Begin anew, at byte 0 of the row that ``token`` and ``value`` select.
    token, value : In(TOKEN_BITS), In(1)
        Whose row; 0: K row, 1: V row. Taken together with ``start``.
    stage : Out(StageRead(stage_word))
        The stage memory.
    tape : In(TapePort)
        The bytes. ``want`` is a multiple of a unit, and unchanged until it has been taken.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "token": In(TOKEN_BITS),
                "value": In(1),
                "stage": Out(StageRead(config.stage_word)),
                "tape": In(TapePort(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        unit = unit_bytes(self.config)
        unit_bits = unit.bit_length() - 1
        most = self.config.attention_bytes // unit + _AHEAD + 1
        held = Signal(range(most + 1))
        want = self.tape.want[unit_bits:]
        kept = Signal(range(_AHEAD + 2))  # after a take; means nothing without one
        # Without a carry chain, as are all decisions here.
        borrow: Value = Const(0, 1)
        for i in range(len(kept)):
            m.d.comb += kept[i].eq(held[i] ^ want[i] ^ borrow)
            borrow = Mux(held[i] ^ want[i], want[i], borrow)

        # Addresses.
        running, arriving, request = Signal(), Signal(), Signal()
        address, token, value = Signal(16), Signal(TOKEN_BITS), Signal()
        m.d.comb += [
            request.eq(self.start | (running & (held + Cat(0, arriving) < want + _AHEAD))),
            self.stage.en.eq(request),
            self.stage.address.eq(Mux(self.start, 0, address)),
            self.stage.token.eq(Mux(self.start, self.token, token)),
            self.stage.value.eq(Mux(self.start, self.value, value)),
        ]
        m.d.sync += arriving.eq(request)
        with m.If(request):
            m.d.sync += address.eq(self.stage.address + 2 * unit)

        # The word that comes, behind what stays; what a take leaves. `age`: unit 0 came last.
        take = self.tape.take
        low, high = self.stage.data[: 8 * unit], self.stage.data[8 * unit :]
        age = [Signal(8 * unit, name=f"age{i}", reset_less=True) for i in range(_AHEAD + 1)]
        units = [Signal(8 * unit, name=f"unit{i}", reset_less=True) for i in range(most)]
        with m.If(arriving):
            m.d.sync += [new.eq(old) for new, old in zip(age, (high, low, *age), strict=False)]

        def place(i: int, behind: Signal) -> None:
            """Unit i of a word that comes behind so many."""
            with m.If(arriving & (behind == i)):
                m.d.sync += units[i].eq(low)
            if i:
                with m.Elif(arriving & (behind == i - 1)):
                    m.d.sync += units[i].eq(high)

        for i, register in enumerate(units):
            with m.If(take):
                if i <= _AHEAD:
                    with m.Switch(kept):
                        for left in range(i + 1, _AHEAD + 2):
                            with m.Case(left):
                                m.d.sync += register.eq(age[left - 1 - i])
                    place(i, kept)
            with m.Else():
                place(i, held)
        m.d.sync += held.eq(Mux(take, kept, held) + Cat(0, arriving))

        with m.If(self.start):
            m.d.sync += [running.eq(1), token.eq(self.token), value.eq(self.value), held.eq(0)]
        short = LutGreater(max(len(held), len(want)))
        m.submodules.short = shared(short, platform)
        m.d.comb += [
            short.a.eq(want),
            short.b.eq(held),
            self.tape.data.eq(Cat(*units)),
            self.tape.enough.eq(~short.o),
        ]
        return m
