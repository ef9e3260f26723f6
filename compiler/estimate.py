"""How fast a compiled program will run, and what binds it: `compiler.timeline` for decode and prefill."""

from collections.abc import Sequence
from dataclasses import dataclass

from hw.isa import Loop
from hw.machine import MachineConfig

from .cost_memory import Memory
from .dependence import dependency_chain
from .memory_map import MemoryMap
from .timeline import FREE, Run, Timeline, decoded

__all__ = ["Decode", "Estimate", "Prefill", "Token", "estimate", "memory_bytes"]

#: Tiles times layers of a prompt that are walked one by one; more are extrapolated from two depths.
WALKED = 96
_DEPTHS = (3, 5)
#: Regions by what they hold.
_WEIGHTS = ("embedding", "rope", "tape_prologue", "tape_layers", "tape_epilogue")


@dataclass(frozen=True)
class Token:
    """An entry of the token table."""

    token: int
    position: int
    base: int = 0
    continues: bool = False


@dataclass(frozen=True)
class Decode:
    """One decode token. run: of the whole step. without: by member of `FREE`, cycles if it cost nothing.
    limit: cycles of its longest chain of dependences (`compiler.dependence`)."""

    position: int
    run: Run
    without: dict[str, float]
    limit: float

    @property
    def binds(self) -> str:
        """What would shorten the token most."""
        return min(self.without, key=lambda name: self.without[name])


@dataclass(frozen=True)
class Prefill:
    """A prompt. layers_walked: 0 where all were walked, else the depth that the rest is extrapolated from."""

    tokens: int
    tile: int
    chunk: int
    cycles: float
    layers_walked: int


@dataclass(frozen=True)
class Estimate:
    """Decode at a position and prefill of a prompt."""

    decode: Decode
    prefill: Prefill


def estimate(
    machine: MachineConfig,
    memory: Memory,
    program: bytes,
    *,
    position: int,
    prompt: int,
    tile: int,
    chunk: int,
) -> Estimate:
    """Both figures of a program of 24 bytes an instruction.

    position: tokens before the decoded one; prompt, tile, chunk: tokens. All 1 or more, within the machine.
    """
    walked = decoded(program)
    token = [Token(0, position)]

    def decode(free: Sequence[str] = ()) -> Run:
        """One step, which begins with nothing under way as each one does."""
        return Timeline(machine, memory, walked, free).step(token)

    without = {name: decode([name]).cycles for name in FREE}
    layers = next((f["count"] for name, f in walked if name == "LOOP" and f["register"] == Loop.LAYER), 1)
    few = -(-prompt // tile) * layers <= WALKED or layers <= max(_DEPTHS)

    def prefill(depth: int) -> float:
        timeline, cycles = Timeline(machine, memory, walked, layers=depth), 0.0
        for at in range(0, prompt, chunk):
            length = min(chunk, prompt - at)
            entries = [Token(0, at + i, 0, i > 0) for i in range(length)]
            cycles += timeline.step(entries, tile, head=at + length == prompt).cycles
        return cycles

    if few:
        cycles = prefill(0)
    else:
        low, high = (prefill(depth) for depth in _DEPTHS)
        cycles = high + (high - low) * (layers - _DEPTHS[1]) / (_DEPTHS[1] - _DEPTHS[0])
    return Estimate(
        Decode(position, decode(), without, dependency_chain(machine, walked, token[0])[-1].end),
        Prefill(prompt, tile, chunk, cycles, 0 if few else _DEPTHS[1]),
    )


def memory_bytes(memory: MemoryMap, layers: int, context: int) -> dict[str, int]:
    """Bytes that must be in memory for one sequence of `context` tokens: weights, KV, others, all."""
    sizes = {name: region.size for name, region in memory.regions.items()}
    weights = sum(sizes[name] for name in _WEIGHTS)
    kv = layers * context * (memory.strides["key"] + memory.strides["value"])
    other = sizes["logits"] + sizes["spill"]
    return {"weights": weights, "kv": kv, "other": other, "all": weights + kv + other}
