"""A tape for tests: bytes that come with random levels, and a record of what was taken."""

import random
from collections.abc import Iterator

from amaranth.lib import wiring

#: How a tape comes: chance that it is all there, chance that it is empty; otherwise any number of bytes.
PATTERNS = {"full": (1.0, 0.0), "ragged": (0.3, 0.3), "scarce": (0.05, 0.7)}


class TapeBench:
    """Feeds ``dut.tape`` from ``content`` and records the bytes taken in each cycle in ``takes``.

    Where that is two ports, one of them at most may want anything.
    """

    def __init__(
        self, dut: wiring.Component, unit_bytes: int, content: bytes, pattern: str, seed: int
    ) -> None:
        self.unit, self.content, self.pattern = unit_bytes, content, pattern
        several = "tape" in dut.signature.members and dut.signature.members["tape"].dimensions
        self.ports = [dut.tape[i] for i in range(several[0])] if several else [dut.tape]
        self.rng = random.Random(seed)
        self.position = 0
        self.takes: list[int] = []
        self.starved = 0

    def _levels(self) -> Iterator[int]:
        full, empty = PATTERNS[self.pattern]
        while True:
            there = min(self.unit, len(self.content) - self.position)
            chance = self.rng.random()
            yield there if chance < full else 0 if chance < full + empty else self.rng.randint(0, there)

    async def run(self, ctx) -> None:
        """A background test bench. The bytes above the level are there, or rubbish."""
        for level in self._levels():
            window = self.content[self.position : self.position + self.unit]
            window = window[:level] + self.rng.randbytes(self.unit - level)
            for tape in self.ports:
                ctx.set(tape.data, int.from_bytes(window, "little"))
                ctx.set(tape.enough, ctx.get(tape.want) <= level)
            samples = [signal for tape in self.ports for signal in (tape.take, tape.want, tape.starved)]
            _, _, *found = await ctx.tick().sample(*samples)
            wants = found[1::3]
            assert sum(want > 0 for want in wants) <= 1, f"several want: {wants}"
            taken, want, starved = sum(found[::3]), sum(wants), sum(found[2::3])
            take = want if taken else 0
            assert take <= level, f"took {take} bytes of {level}"
            assert take or not taken, "took nothing"
            assert not (take and starved), "starved while it took"
            self.position += take
            self.takes.append(take)
            self.starved += starved
