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
        longest, boundary = self.config.burst_beats, BOUNDARY // bus
        address = Signal(ADDRESS_BITS)
        # What is not yet in a burst: beats, whether there are any, live bytes of the last one.
        beats_left = Signal(33 - shift)
        busy = Signal()
        last_bytes = Signal(range(bus + 1))
        # The longest burst that may begin at `address`: it is known a cycle after the address.
        limit = Signal(range(longest + 1))
        beats = Signal.like(limit)
        last = Signal()
        m.d.comb += [
            last.eq(beats_left <= limit),
            beats.eq(Mux(last, beats_left, limit)),
            self.run.ready.eq(~busy),
        ]
        run = self.run.payload
        accept = self.run.valid & self.run.ready
        place = Mux(accept, run.address, address)[shift : BOUNDARY.bit_length() - 1]
        to_boundary = boundary - place
        m.d.sync += limit.eq(Mux(to_boundary < longest, to_boundary, longest))

        held = self.burst.payload
        with m.If(self.burst.ready):
            m.d.sync += self.burst.valid.eq(0)
        with m.If(busy & ~self.burst.valid):
            m.d.sync += [
                self.burst.valid.eq(1),
                held.address.eq(address),
                held.len.eq(beats - 1),
                held.last.eq(last),
                held.last_bytes.eq(Mux(last, last_bytes, bus)),
                address.eq(address + Cat(Const(0, shift), beats)),
                beats_left.eq(beats_left - limit),
                busy.eq(~last),
            ]
        with m.If(accept):
            m.d.sync += [
                address.eq(run.address),
                beats_left.eq((run.bytes + (bus - 1)) >> shift),
                busy.eq(run.bytes != 0),
                last_bytes.eq(Cat(run.bytes[:shift], ~run.bytes[:shift].any())),
            ]
        return m
