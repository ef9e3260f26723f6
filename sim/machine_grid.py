"""Twenty machines with their memories, as different as the sizes allow; one small model fits them all.

Lane counts, rows a cycle, tiles, bus widths, FIFO depths and memory timings change; results must not.
The first `QUICK` need three machines; `python -m bench.machines` runs all.
"""

import dataclasses

from hw.machine import CI, NARROW, WIDE, MachineConfig

from .dram import DDR3, IDEAL, DramParams

__all__ = ["BYTES", "GRID", "QUICK", "ROUGH", "SLOW"]

#: Slow, stalling, often refreshing.
ROUGH = DramParams(latency=90, write_latency=70, turn=9, refresh_every=150, refresh_cycles=30,
                   stall_r=300, stall_ar=500, stall_aw=500, stall_w=500)  # fmt: skip
#: A long latency, and a refresh that takes a third of the time.
SLOW = DramParams(latency=300, write_latency=200, turn=30, refresh_every=300, refresh_cycles=100)

#: Sizes that just hold a model of 64 elements, 4 heads and 64 tokens.
_SMALL = dataclasses.replace(
    CI, activation_words=512, constant_words=256, accumulator_rows=256, quantised_words=256, score_words=256,
    max_heads=4, max_query=64, max_context=64, max_group=2, stage_bytes=128, program_words=128, max_chunk=32,
    top_k=8,
)  # fmt: skip


def _machine(name: str, **sizes: int | str) -> MachineConfig:
    return dataclasses.replace(_SMALL, name=name, **sizes)  # pyright: ignore[reportArgumentType]


LEAST = _machine("least", bus_bytes=4, tables=1, head_lanes=4, lanes=2, attention_bytes=4, fifo_words=4,
                 burst_beats=2, outstanding=1, queue_depth=4, tile=1, top_k=1, activation_bits=8,
                 multiply_cycles=4)  # fmt: skip
THIN = _machine("thin", bus_bytes=4, tables=5, head_lanes=8, lanes=8, attention_bytes=4, fifo_words=32,
                burst_beats=16, outstanding=3, queue_depth=8, tile=8)  # fmt: skip
LANES = _machine("lanes", bus_bytes=8, tables=9, lanes=16, attention_bytes=8, fifo_words=128, tile=2)
#: Two tokens share a core of the attention unit.
EVEN = _machine("even", bus_bytes=16, tables=17, head_lanes=32, lanes=4, attention_bytes=16, fifo_words=64,
                burst_beats=8, outstanding=16, tile=4, attention_cores=2, multiply_cycles=4)  # fmt: skip
BROAD = _machine("broad", bus_bytes=32, tables=33, head_lanes=64, lanes=8, attention_bytes=16, fifo_words=64,
                 burst_beats=64, outstanding=2, tile=1)  # fmt: skip
MOST = _machine("most", bus_bytes=64, tables=65, head_lanes=64, lanes=16, attention_bytes=16, fifo_words=16,
                burst_beats=4, outstanding=8, tile=2)  # fmt: skip
#: All tokens share a core, which takes a whole head in a cycle and has room for a larger one.
HUNGRY = _machine("hungry", bus_bytes=64, tables=7, head_lanes=16, lanes=8, attention_bytes=32, fifo_words=32,
                  burst_beats=16, outstanding=4, tile=8, attention_cores=1, max_query=128)  # fmt: skip
#: Each byte of trits addresses a table in block RAM; two tables share up to 4 bytes of one token.
BYTES = _machine("bytes", bus_bytes=8, tables=9, head_lanes=8, lanes=4, attention_bytes=8, fifo_words=32,
                 burst_beats=8, outstanding=4, tile=2, family="xcup", table_form="byte")  # fmt: skip
SHALLOW = _machine("shallow", bus_bytes=8, fifo_words=4, burst_beats=2, outstanding=16, queue_depth=4, tile=4)

#: (machine, memory)
GRID: tuple[tuple[MachineConfig, DramParams], ...] = (
    (CI, DDR3), (CI, ROUGH), (NARROW, DDR3), (NARROW, SLOW), (LEAST, DDR3), (LEAST, IDEAL),
    (CI, SLOW), (WIDE, DDR3), (WIDE, ROUGH), (HUNGRY, ROUGH), (HUNGRY, IDEAL), (THIN, ROUGH), (THIN, DDR3),
    (LANES, SLOW), (EVEN, ROUGH), (EVEN, IDEAL), (BROAD, DDR3), (MOST, ROUGH), (SHALLOW, DDR3),
    (BYTES, ROUGH),
)  # fmt: skip
QUICK = 6
