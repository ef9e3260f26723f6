"""Several narrow AXI4 ports as one wide one: bursts in turn over the ports, data back in order."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from .axi4 import ReadPort, ReadPorts, WritePort, read_layout
from .machine import MachineConfig

__all__ = ["PortStripe"]


class PortStripe(wiring.Component):
    """`ports` managers of ``bus_bytes / ports`` bytes behind one of ``bus_bytes``.

    Burst n of the wide side goes whole to port n modulo `ports`, as `ports` times as many narrow beats. A
    port's beats are put together to wide ones and wait in a queue of two bursts, because a port brings a
    burst in `ports` times the cycles in which the wide side takes it: with bursts under way on all ports the
    wide side moves a beat in each cycle. A port whose queue is full holds its beats back. Writes are few:
    they use port 0, a wide beat taking `ports` cycles.

    Cycles beside those of the memory: address 0; a wide read beat `ports` - 1 from its first narrow beat,
    and 2; a write beat 1.

    Parameters
    ----------
    config : MachineConfig
        ``ports`` (2 or more), ``bus_bytes``, ``burst_beats`` (wide beats, at most 256 / ports).

    Members
    -------
    read, write : In(ReadPort(bus_bytes)), In(WritePort(bus_bytes))
        The wide side.
    reads, writes : Out(ReadPorts(ports, bus_bytes / ports)), Out(WritePort(bus_bytes / ports))
        To memory.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        narrow = config.bus_bytes // config.ports
        super().__init__({
            "read": In(ReadPort(config.bus_bytes)),
            "write": In(WritePort(config.bus_bytes)),
            "reads": Out(ReadPorts(config.ports, narrow)),
            "writes": Out(WritePort(narrow)),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._read(m)
        self._write(m)
        return m

    def _read(self, m: Module) -> None:
        config, ports = self.config, self.config.ports
        narrow = 8 * config.bus_bytes // ports
        wide = read_layout(config.bus_bytes)
        ar, r = self.read.ar, self.read.r

        # Addresses, to the ports in turn.
        asked = Signal(range(ports))
        m.d.comb += [
            self.reads.ar.valid.eq(ar.valid << asked),
            ar.ready.eq(self.reads.ar.ready.bit_select(asked, 1)),
        ]
        for p in range(ports):
            m.d.comb += [
                self.reads.ar.payload[p].addr.eq(ar.p.addr),
                self.reads.ar.payload[p].len.eq(ar.p.len * ports + ports - 1),
            ]
        with m.If(ar.valid & ar.ready):
            m.d.sync += asked.eq(asked + 1)

        # Data: `ports` narrow beats are a wide one; the port whose turn it is gives its burst.
        given = Signal(range(ports))
        with m.If(r.valid & r.ready & r.p.last):
            m.d.sync += given.eq(given + 1)
        for p in range(ports):
            m.submodules[f"queue{p}"] = queue = SyncFIFOBuffered(
                width=wide.size, depth=2 * config.burst_beats
            )
            beat = self.reads.r.payload[p]
            ready, valid = self.reads.r.ready[p], self.reads.r.valid[p]
            count = Signal(range(ports), name=f"count{p}")
            parts = Signal((ports - 1) * narrow, name=f"parts{p}", reset_less=True)
            resp = Signal(2, name=f"resp{p}")
            full = Signal(name=f"full{p}")
            word = data.View(wide, queue.w_data)
            m.d.comb += [
                full.eq(count == ports - 1),
                ready.eq(~full | queue.w_rdy),
                queue.w_en.eq(valid & full & queue.w_rdy),
                word.data.eq(Cat(parts, beat.data)),
                word.resp.eq(resp | beat.resp),
                word.last.eq(beat.last),
            ]
            with m.If(valid & ready):
                m.d.sync += [
                    count.eq(count + 1),
                    parts.eq(Cat(parts[narrow:], beat.data)),
                    resp.eq(Mux(full, 0, resp | beat.resp)),
                ]
            with m.If(given == p):
                m.d.comb += [
                    r.valid.eq(queue.r_rdy),
                    r.p.eq(queue.r_data),
                    queue.r_en.eq(queue.r_rdy & r.ready),
                ]

    def _write(self, m: Module) -> None:
        ports, narrow = self.config.ports, self.config.bus_bytes // self.config.ports
        aw, w, b = self.write.aw, self.write.w, self.write.b
        m.d.comb += [
            self.writes.aw.valid.eq(aw.valid),
            aw.ready.eq(self.writes.aw.ready),
            self.writes.aw.p.addr.eq(aw.p.addr),
            self.writes.aw.p.len.eq(aw.p.len * ports + ports - 1),
            b.valid.eq(self.writes.b.valid),
            b.payload.eq(self.writes.b.payload),
            self.writes.b.ready.eq(b.ready),
        ]
        # A wide beat is held and leaves part by part; another waits `behind` it, so that whether one is
        # taken depends on a register alone.
        held, behind = Signal(w.p.shape()), Signal(w.p.shape())
        left, waits = Signal(range(ports + 1)), Signal()
        sent, free, takes = Signal(), Signal(), Signal()
        m.d.comb += [
            self.writes.w.valid.eq(left != 0),
            self.writes.w.p.data.eq(held.data[: 8 * narrow]),
            self.writes.w.p.strb.eq(held.strb[:narrow]),
            self.writes.w.p.last.eq(held.last & (left == 1)),
            sent.eq(self.writes.w.valid & self.writes.w.ready),
            free.eq((left == 0) | (sent & (left == 1))),
            w.ready.eq(~waits),
            takes.eq(w.valid & ~waits),
        ]
        with m.If(sent):
            m.d.sync += [
                held.data.eq(held.data >> 8 * narrow),
                held.strb.eq(held.strb >> narrow),
                left.eq(left - 1),
            ]
        with m.If(free & (waits | takes)):
            m.d.sync += [held.eq(Mux(waits, behind, w.p)), left.eq(ports)]
        m.d.sync += waits.eq(Mux(free, 0, waits | takes))
        with m.If(~waits):
            m.d.sync += behind.eq(w.p)
