"""An AXI4-Lite manager for unit tests: each channel stalls by itself, and the rules are assertions."""

import random
from collections import deque


class AxiLiteManager:
    """Drives the five channels of a port, one testbench each.

    `stall` is the probability that a valid or ready of the manager is withheld in a cycle. A write's address
    and data are put on their channels apart, so either may come first. What the subordinate offers is
    checked: a valid stays, with its payload, until its ready.
    """

    def __init__(self, bus, stall: float, seed: int):
        self.bus, self.stall, self.random = bus, stall, random.Random(seed)
        self._queues = {name: deque() for name in ("aw", "w", "ar")}
        self._answers = {name: deque() for name in ("b", "r")}

    def testbenches(self):
        """All processes; add them in the background."""
        return [self._send(name) for name in self._queues] + [self._take(name) for name in self._answers]

    def _go(self) -> bool:
        return self.random.random() >= self.stall

    def _send(self, name):
        channel, queue = getattr(self.bus, name), self._queues[name]

        async def process(ctx):
            offered = False
            while True:
                if not offered and queue and self._go():
                    for member, value in queue[0].items():
                        ctx.set(channel.payload[member], value)
                    offered = True
                ctx.set(channel.valid, offered)
                *_, ready = await ctx.tick().sample(channel.ready)
                if offered and ready:
                    queue.popleft()
                    offered = False

        return process

    def _take(self, name):
        channel, answers = getattr(self.bus, name), self._answers[name]
        members = [channel.payload] if name == "b" else [channel.payload.data, channel.payload.resp]

        async def process(ctx):
            held = None
            while True:
                ready = self._go()
                ctx.set(channel.ready, ready)
                _, _, valid, *payload = await ctx.tick().sample(channel.valid, *members)
                assert held is None or (valid and payload == held), f"{name} did not stand until ready"
                held = payload if valid and not ready else None
                if valid and ready:
                    answers.append(payload)

        return process

    async def _answer(self, ctx, name, limit=1000):
        for _ in range(limit):
            if self._answers[name]:
                return self._answers[name].popleft()
            await ctx.tick()
        raise AssertionError(f"no answer on {name} within {limit} cycles")

    def send_write(self, address, value, strobes=0b1111, prot=0):
        """Ask without waiting."""
        self._queues["aw"].append({"addr": address, "prot": prot})
        self._queues["w"].append({"data": value, "strb": strobes})

    def send_read(self, address, prot=0):
        """Ask without waiting."""
        self._queues["ar"].append({"addr": address, "prot": prot})

    async def written(self, ctx) -> int:
        """The next write's response."""
        return (await self._answer(ctx, "b"))[0]

    async def was_read(self, ctx) -> tuple[int, int]:
        """The next read's data and response."""
        data, response = await self._answer(ctx, "r")
        return data, response

    async def write(self, ctx, address, value, strobes=0b1111) -> int:
        """One write; its response."""
        self.send_write(address, value, strobes)
        return await self.written(ctx)

    async def read(self, ctx, address) -> tuple[int, int]:
        """One read; its data and response."""
        self.send_read(address)
        return await self.was_read(ctx)
