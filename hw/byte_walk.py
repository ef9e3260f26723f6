"""The order in which a table of 243 is built: by the codes of five trits, one trit a step."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .trits import BYTE_ENTRIES, THREE_ENTRIES, TRITS_PER_BYTE, WALK

__all__ = ["BYTE_ENTRIES", "WALK", "ByteWalk"]


class ByteWalk(wiring.Component):
    """Walks through all codes of five trits, for builders that have one adder each.

    A code is three + 27 * two, the Gray positions of the first three and of the last two trits. The small
    position sweeps up, then down, and the other one moves between the sweeps: an entry is the one before plus
    or minus one activation, and its address is its code. Knuth, TAOCP 7.2.1.1, for the order.

    In the first five cycles all activations are subtracted, one a cycle; then an entry is written in each
    cycle, and changed at its end, but for the last.

    Members
    -------
    en : In(1)
        The walk goes on in cycles in which this is 1.
    digit : Out(0..4)
        Activation that changes the entry at the end of this cycle.
    down : Out(1)
        It is subtracted, not added.
    write : Out(1)
        The entry is that of ``address``.
    address : Out(8)
        A code.
    ends : Out(1)
        The last entry: it is not changed; the next cycle begins another walk.
    """

    en: In(1)
    digit: Out(range(TRITS_PER_BYTE))
    down: Out(1)
    write: Out(1)
    address: Out(range(BYTE_ENTRIES))
    ends: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        digits = range(TRITS_PER_BYTE)
        first = Signal(TRITS_PER_BYTE, init=1)  # the digit that is subtracted, before there is an entry
        trits = [Signal(2, name=f"trit{i}") for i in digits]  # and one
        falls = [Signal(name=f"falls{i}") for i in digits]
        at_end = Signal(TRITS_PER_BYTE)
        moves = Signal(TRITS_PER_BYTE)
        back = Signal()  # the small position sweeps down
        sweep_ends = Signal()

        # The first digit that is not at the end of its sweep moves; those before it turn round.
        m.d.comb += [
            at_end.eq(Cat(Mux(f, t == 0, t == 2) for t, f in zip(trits, falls, strict=True))),
            *(moves[i].eq(Mux(self.write, at_end[:i].all() & ~at_end[i], first[i])) for i in digits),
            sweep_ends.eq(at_end[:3].all()),
            self.ends.eq(self.write & at_end.all()),
            self.digit.eq(Cat(moves[1] | moves[3], moves[2] | moves[3], moves[4])),
            self.down.eq(~self.write | (moves & Cat(falls)).any()),
        ]
        with m.If(self.en & ~self.write):
            m.d.sync += [first.eq(first.rotate_left(1)), self.write.eq(first[-1])]
        with m.If(self.en & self.write):
            for i, (trit, fall) in enumerate(zip(trits, falls, strict=True)):
                with m.If(moves[i]):
                    # 0, 1, 2 and back
                    m.d.sync += [trit[0].eq(~trit[0]), trit[1].eq(trit[0] & ~fall)]
                with m.If(at_end[: i + 1].all()):
                    m.d.sync += fall.eq(~fall)
            m.d.sync += back.eq(back ^ sweep_ends)
            change = Mux(sweep_ends, THREE_ENTRIES, Cat(Const(1, 1), back.replicate(7)))
            m.d.sync += self.address.eq(self.address + change)
        with m.If(self.en & self.ends):
            m.d.sync += [self.write.eq(0), back.eq(0), self.address.eq(0)]
            m.d.sync += [signal.eq(0) for signal in (*trits, *falls)]
        return m
