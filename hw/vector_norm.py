"""NORM: the scales of the tokens of a tile."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .norm import Norm
from .square_sum import TOTAL_BITS
from .vector_tokens import count_tokens

__all__ = ["VectorNorm"]


class VectorNorm(wiring.Component):
    """Sends the statistics of each live token through `hw.norm.Norm`.

    The first result comes ``Norm.latency`` cycles (1 without ``normalise``) after the one that follows
    ``start``, each further one `Norm.INTERVAL` (1) later.

    Parameters
    ----------
    tokens : int
        Tokens of a tile.
    mantissas : bool
        Whether the machine has 12-bit mantissas.
    multiply : int
        Cycles of a multiplication.

    Members
    -------
    start : In(1)
        A NORM begins. The following are needed from the next cycle on.
    more : In(range(tokens))
        Tokens beside the first.
    normalise, mantissa : In(1), In(1)
        As the instruction says.
    token : Out(range(tokens))
        The token that begins next.
    total, c, eps : In(63), In(32), In(32)
        Sum of squares of ``token``, and the two scalars.
    late_token : Out(range(tokens))
        The token whose result comes next.
    maximum : In(32)
        Absmax of ``late_token``, without ``normalise`` of ``token``.
    en, value : Out(1), Out(32)
        The result of the first token, then of each further one.
    done : Out(1)
        With ``en``: it is the last one.
    error : Out(1)
        With ``done``: a sum that ``normalise`` needed was saturated.
    """

    def __init__(self, tokens: int, mantissas: bool, multiply: int) -> None:
        self.tokens, self.mantissas, self.multiply = tokens, mantissas, multiply
        super().__init__({
            "start": In(1), "more": In(range(tokens)), "normalise": In(1), "mantissa": In(1),
            "token": Out(range(tokens)), "total": In(TOTAL_BITS), "c": In(32), "eps": In(32),
            "late_token": Out(range(tokens)), "maximum": In(32),
            "en": Out(1), "value": Out(32), "done": Out(1), "error": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.norm = norm = Norm(self.mantissas, self.multiply)
        feed = Signal()
        begins, begun = Signal(), Signal()
        saturated = Signal()
        token = count_tokens(m, self.tokens, self.start, begins, "begun")
        late_token = count_tokens(m, self.tokens, self.start, self.en, "finished")
        m.d.comb += [
            self.token.eq(token),
            norm.i.valid.eq(feed),
            norm.i.payload.normalise.eq(self.normalise),
            norm.i.payload.total.eq(self.total),
            norm.i.payload.c.eq(self.c),
            norm.i.payload.eps.eq(self.eps),
            norm.maximum.eq(self.maximum),
            norm.mantissa.eq(self.mantissa),
            begins.eq(feed & norm.i.ready),
            self.late_token.eq(late_token),
            self.en.eq(norm.done),
            self.value.eq(norm.o),
            self.done.eq(self.en & (late_token == self.more)),
            self.error.eq(self.done & saturated),
        ]
        m.d.sync += begun.eq(begins)
        with m.If(begins):
            m.d.sync += feed.eq(token != self.more)
        with m.If(begun):
            m.d.sync += saturated.eq(saturated | norm.saturated)
        with m.If(self.start):
            m.d.sync += [
                feed.eq(1),
                saturated.eq(0),
            ]
        return m
