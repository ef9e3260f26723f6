"""BurstSplitter, the descriptor walker: bursts cover their runs exactly, in order, within AXI4's limits."""

import dataclasses

import pytest
from amaranth.asserts import Initial
from amaranth.hdl import Assert, Assume, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

import hw.burst
from hw.axi4 import BOUNDARY
from hw.burst import burst_layout, run_layout
from hw.machine import CI, NARROW, WIDE

from .contract import kept, legal_address
from .prove import prove
from .variant import broken, opened

LONGEST = dataclasses.replace(CI, name="longest", burst_beats=256)


class Walk(wiring.Component):
    """Any aligned runs inside the address space, any readiness.

    Two runs are followed: the one whose bursts are taken, and one behind it.
    """

    def __init__(self, config, splitter=hw.burst.BurstSplitter):
        self.config, self.dut = config, splitter(config)
        super().__init__(
            {
                "run": In(stream.Signature(run_layout())),
                "burst": Out(stream.Signature(burst_layout(config.bus_bytes))),
            }
        )

    def elaborate(self, platform):
        m, bus = Module(), self.config.bus_bytes
        m.submodules.dut, inner = opened(self.dut, platform)
        wiring.connect(m, wiring.flipped(self.run), self.dut.run)
        wiring.connect(m, self.dut.burst, wiring.flipped(self.burst))
        run, burst = self.run.payload, self.burst.payload
        m.d.comb += Assume(run.address % bus == 0)
        m.d.comb += Assume(run.address + run.bytes <= 1 << 32)

        size = Signal(16)
        m.d.comb += size.eq(burst.len * bus + Mux(burst.last, burst.last_bytes, bus))
        taken = self.burst.valid & self.burst.ready
        address, owed = Signal(33), Signal(32)  # of the run whose bursts are taken
        next_address, next_owed = Signal(33), Signal(32)  # of the run behind it
        with m.If(taken):
            m.d.sync += [address.eq(address + size), owed.eq(owed - size)]
            with m.If(owed == size):
                m.d.sync += [address.eq(next_address), owed.eq(next_owed), next_owed.eq(0)]
        with m.If(self.run.valid & self.run.ready):
            with m.If((owed == 0) | (taken & (owed == size))):
                m.d.sync += [address.eq(run.address), owed.eq(run.bytes)]
            with m.Else():
                m.d.sync += [next_address.eq(run.address), next_owed.eq(run.bytes)]

        with m.If(self.burst.valid):
            m.d.comb += [
                Assert(burst.address == address),
                Assert(size <= owed),
                Assert(burst.last == (size == owed)),
                Assert(burst.last_bytes != 0),
                Assert(burst.last_bytes <= bus),
                Assert(burst.last | (burst.last_bytes == bus)),
                *[Assert(rule) for rule in legal_address(burst.address, burst.len, self.config)],
                # The fewest bursts: one that neither ends its run nor meets a boundary is of full length.
                Assert(
                    burst.last
                    | (burst.len == self.config.burst_beats - 1)
                    | ((burst.address + size) % BOUNDARY == 0)
                ),
            ]
        kept(m, self.burst, Assert)
        # Progress: a run that is owed shows a burst after at most one cycle without.
        was_owed = Signal()
        m.d.sync += was_owed.eq((owed != 0) & ~self.burst.valid)
        with m.If(~Initial() & was_owed):
            m.d.comb += Assert(self.burst.valid)

        # Invariants: the registers hold what the ghosts say is not yet in a burst.
        waiting = Mux(self.burst.valid & (owed == size), next_owed, owed - Mux(self.burst.valid, size, 0))
        position = Mux(
            self.burst.valid & (owed == size), next_address, address + Mux(self.burst.valid, size, 0)
        )
        m.d.comb += [
            Assert(inner.busy == (waiting != 0)),
            Assert(~inner.busy | (inner.beats_left == (waiting + (bus - 1)) // bus)),
            Assert(~inner.busy | (inner.last_bytes == (waiting - 1) % bus + 1)),
        ]
        to_boundary = BOUNDARY // bus - inner.address % BOUNDARY // bus
        longest = self.config.burst_beats
        with m.If(inner.busy):
            m.d.comb += [
                Assert(inner.address == position),
                Assert(inner.address % bus == 0),
                Assert(inner.address + waiting <= 1 << 32),
                # `limit` follows the address a cycle later: it is right when a burst is made.
                Assert(self.burst.valid | (inner.limit == Mux(to_boundary < longest, to_boundary, longest))),
            ]
        with m.If(next_owed != 0):
            m.d.comb += [Assert(self.burst.valid & (owed == size))]
        with m.If(~self.burst.valid):
            m.d.comb += Assert(next_owed == 0)
        return m


@pytest.mark.parametrize("config", [CI, NARROW, WIDE, LONGEST], ids=lambda config: config.name)
def test_bursts_cover_their_runs(config):
    prove(Walk(config), depth=1, induction=True)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Mux(to_boundary < longest, to_boundary, longest)", "longest"),
        ("Mux(accept, run.address, address)", "address"),
        ("(run.bytes + (bus - 1)) >> shift", "run.bytes >> shift"),
        ("busy & ~self.burst.valid", "busy"),
        ("busy.eq(~last)", "busy.eq(0)"),
        ("Mux(last, last_bytes, bus)", "bus"),
    ],
    ids=["boundary", "late", "round", "overwrite", "rest", "tail"],
)
def test_broken_splitter_is_found(old, new):
    variant = broken(hw.burst, old, new).BurstSplitter
    with pytest.raises(AssertionError, match="counterexample from reset"):
        prove(Walk(CI, variant), depth=12)
