"""What specifications share: the rules of a stream, of a legal burst, and any source of legal bursts."""

from amaranth.asserts import AnySeq, Initial
from amaranth.hdl import Assert, Assume, Module, Signal, Value

from hw.axi4 import BOUNDARY
from hw.burst import BurstSplitter


def kept(m: Module, stream, rule: type[Assert] | type[Assume]) -> None:
    """What is offered on a stream stays until it is taken (AXI4 A3.2.1), as `rule`."""
    payload = Value.cast(stream.payload)
    waiting, before = Signal(), Signal(len(payload))
    m.d.sync += [waiting.eq(stream.valid & ~stream.ready), before.eq(payload)]
    with m.If(~Initial() & waiting):
        m.d.comb += [rule(stream.valid), rule(payload == before)]


def legal_address(address: Value, length: Value, config) -> list[Value]:
    """AXI4 bursts as the memory wants them: aligned, no longer than configured, inside 4 KiB (A3.4.1)."""
    bus = config.bus_bytes
    return [
        address % bus == 0,
        length < config.burst_beats,
        address % BOUNDARY + (length + 1) * bus <= BOUNDARY,
    ]


class AnyBursts(BurstSplitter):
    """In place of a BurstSplitter: any bursts with the properties that `test_burst` proves of one."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        burst = self.burst.payload
        m.d.comb += [
            burst.eq(AnySeq(len(Value.cast(burst)))),
            self.burst.valid.eq(AnySeq(1)),
            self.run.ready.eq(AnySeq(1)),
        ]
        kept(m, self.burst, Assume)
        with m.If(self.burst.valid):
            m.d.comb += [Assume(rule) for rule in legal_address(burst.address, burst.len, self.config)]
            m.d.comb += Assume((burst.last_bytes != 0) & (burst.last_bytes <= self.config.bus_bytes))
        return m
