"""A byte memory behind AXI4 ports for unit tests: random stalls, and the protocol's rules as assertions."""

import random
from collections import deque

from hw.axi4 import BOUNDARY


class AxiMemory:
    """Serves a ReadPort and a WritePort of one component from `data`, one testbench each.

    `stall` is the probability that a ready or valid of the memory is withheld in a cycle. Each burst's
    address, length and 4 KiB rule are asserted; `reads` and `writes` keep (address, beats) of all bursts.
    """

    def __init__(self, data: bytearray, bus_bytes: int, stall: float, seed: int, error_at: int | None = None):
        self.data, self.bus, self.stall, self.error_at = data, bus_bytes, stall, error_at
        self.random = random.Random(seed)
        self.reads: list[tuple[int, int]] = []
        self.writes: list[tuple[int, int]] = []

    def _go(self) -> bool:
        return self.random.random() >= self.stall

    def _check(self, address: int, beats: int) -> None:
        assert address % self.bus == 0, f"burst at {address:#x} is not aligned to {self.bus} bytes"
        end = address + beats * self.bus - 1
        assert address // BOUNDARY == end // BOUNDARY, f"burst {address:#x} + {beats} beats crosses 4 KiB"

    def reader(self, port):
        """Testbench process for a ReadPort."""

        async def process(ctx):
            pending: deque[tuple[int, int]] = deque()
            offered = False
            while True:
                ready = self._go()
                ctx.set(port.ar.ready, ready)
                if not offered and pending and self._go():
                    address, left = pending[0]
                    payload = int.from_bytes(self.data[address : address + self.bus], "little")
                    ctx.set(port.r.payload.data, payload)
                    ctx.set(port.r.payload.last, left == 1)
                    bad = self.error_at is not None and address <= self.error_at < address + self.bus
                    ctx.set(port.r.payload.resp, 2 if bad else 0)
                    offered = True
                ctx.set(port.r.valid, offered)
                _, _, valid, address, length, r_ready = await ctx.tick().sample(
                    port.ar.valid, port.ar.payload.addr, port.ar.payload.len, port.r.ready
                )
                if valid and ready:
                    self._check(address, length + 1)
                    self.reads.append((address, length + 1))
                    pending.append((address, length + 1))
                if offered and r_ready:
                    address, left = pending.popleft()
                    if left > 1:
                        pending.appendleft((address + self.bus, left - 1))
                    offered = False

        return process

    def writer(self, port):
        """Testbench process for a WritePort."""

        async def process(ctx):
            open_bursts: deque[list[int]] = deque()
            answers = 0
            answering = False
            while True:
                aw_ready, w_ready = self._go(), bool(open_bursts) and self._go()
                ctx.set(port.aw.ready, aw_ready)
                ctx.set(port.w.ready, w_ready)
                answering = answering or (answers > 0 and self._go())
                ctx.set(port.b.valid, answering)
                ctx.set(port.b.payload, 0)
                _, _, aw, address, length, w, beat, strobe, last, b_ready = await ctx.tick().sample(
                    port.aw.valid, port.aw.payload.addr, port.aw.payload.len,
                    port.w.valid, port.w.payload.data, port.w.payload.strb, port.w.payload.last, port.b.ready,
                )  # fmt: skip
                if answering and b_ready:
                    answers, answering = answers - 1, False
                if w and w_ready:
                    burst = open_bursts[0]
                    for lane in range(self.bus):
                        if strobe >> lane & 1:
                            self.data[burst[0] + lane] = beat >> 8 * lane & 0xFF
                    burst[0], burst[1] = burst[0] + self.bus, burst[1] - 1
                    assert bool(last) == (burst[1] == 0), "WLAST at the wrong beat"
                    if burst[1] == 0:
                        open_bursts.popleft()
                        answers += 1
                if aw and aw_ready:
                    self._check(address, length + 1)
                    self.writes.append((address, length + 1))
                    open_bursts.append([address, length + 1])

        return process
