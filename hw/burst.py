"""Cut a run of bytes into AXI4 bursts."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .axi4 import ADDRESS_BITS, BOUNDARY
from .machine import MachineConfig


def run_layout() -> data.StructLayout:
    """A run: first byte address (multiple of the bus width) and length in bytes."""
    return data.StructLayout({"address": ADDRESS_BITS, "bytes": 32})


def burst_layout(bus_bytes: int) -> data.StructLayout:
    """A burst: address, beats - 1, whether it ends its run, live bytes of its last beat (1..bus_bytes)."""
    return data.StructLayout(
        {"address": ADDRESS_BITS, "len": 8, "last": 1, "last_bytes": range(bus_bytes + 1)}
    )


class BurstSplitter(wiring.Component):
    """Runs in, bursts out, in order, none crossing a 4 KiB boundary (ARM IHI 0022 A3.4.1).

    Parameters
    ----------
    config : MachineConfig
        `bus_bytes`, and `burst_beats`, the longest burst.

    Members
    -------
    run : stream of `run_layout`
        An empty run yields no burst.
    burst : stream of `burst_layout`

    Latency: one cycle from run to first burst, then a burst every other cycle: at bursts of two beats or more
    the address channel is never the limit.
    """

    def __init__(self, config: MachineConfig):
        self.config = config
        super().__init__(
            {
                "run": In(stream.Signature(run_layout())),
                "burst": Out(stream.Signature(burst_layout(config.bus_bytes))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bus = self.config.bus_bytes
        shift = bus.bit_length() - 1
        address = Signal(ADDRESS_BITS)
        left = Signal(32)  #: bytes of the run not yet in a burst

        beats_left = Signal(32)
        to_boundary = Signal(range(BOUNDARY // bus + 1))
        beats = Signal(range(self.config.burst_beats + 1))
        m.d.comb += beats_left.eq((left + (bus - 1)) >> shift)
        m.d.comb += to_boundary.eq(BOUNDARY // bus - address[shift : BOUNDARY.bit_length() - 1])
        limit = Mux(to_boundary < self.config.burst_beats, to_boundary, self.config.burst_beats)
        m.d.comb += beats.eq(Mux(beats_left < limit, beats_left, limit))

        held = self.burst.payload
        with m.If(self.burst.ready):
            m.d.sync += self.burst.valid.eq(0)
        with m.If((left != 0) & ~self.burst.valid):
            last = Signal()
            m.d.comb += last.eq(beats == beats_left)
            m.d.sync += [
                self.burst.valid.eq(1),
                held.address.eq(address),
                held.len.eq(beats - 1),
                held.last.eq(last),
                held.last_bytes.eq(Mux(last, left - ((beats - 1) << shift), bus)),
                address.eq(address + Cat(Const(0, shift), beats)),
                left.eq(Mux(last, 0, left - Cat(Const(0, shift), beats))),
            ]
        m.d.comb += self.run.ready.eq(left == 0)
        with m.If(self.run.valid & self.run.ready):
            m.d.sync += [address.eq(self.run.payload.address), left.eq(self.run.payload.bytes)]
        return m
