"""The simulated DDR4-2400 by pattern of access: `python -m bench.dram` (KV260: 64 bytes at 300 MHz)."""

import argparse
import dataclasses
import sys
from collections.abc import Iterator

import numpy as np

from sim.ddr4 import DDR4_2400, Burst, Ddr4Params, play
from trine.output import table, write_json

BUS = 64
KV260 = dataclasses.replace(DDR4_2400, clock_khz=300_000)
#: K or V of a token of the 0.73B shape: 16 heads of 96 bytes (K: and their scales), padded to the bus.
K_ROW, V_ROW = 1536 + 128, 1536
K_BASE, V_BASE, WEIGHTS = 128 << 20, 192 << 20, 0


def run(addr: int, size: int, most: int = 4096, write: bool = False) -> Iterator[Burst]:
    """`size` bytes from `addr` in bursts of `most` bytes, cut where they would cross a boundary of 4 KiB."""
    end = addr + size
    while addr < end:
        part = min(most, end - addr, 4096 - addr % 4096)
        yield Burst(addr, part // BUS, write)
        addr += part


def _sequential(total: int, most: int) -> list[Burst]:
    return list(run(WEIGHTS, total, most))


def _rows(total: int, *, shuffled: bool) -> list[Burst]:
    """K row, V row, K row .. of the same tokens, in order or not."""
    tokens = np.arange(total // (K_ROW + V_ROW))
    if shuffled:
        tokens = np.random.default_rng(1).permutation(tokens)
    return [
        burst
        for token in tokens.tolist()
        for base, size in ((K_BASE, K_ROW), (V_BASE, V_ROW))
        for burst in run(base + token * size, size)
    ]


def _blocks(total: int, *, writes: float = 0) -> list[Burst]:
    random = np.random.default_rng(2)
    count = total // BUS
    addresses, kinds = random.integers(0, 1 << 22, count) * BUS, random.random(count) < writes
    return [Burst(addr, 1, kind) for addr, kind in zip(addresses.tolist(), kinds.tolist(), strict=True)]


def _mixed(total: int, every: int, batch: int) -> list[Burst]:
    """Weights in order; after each `every` bytes of them the K and V rows of `batch` tokens are written."""
    found, token = list[Burst](), 0
    for start in range(0, total, every):
        found += run(WEIGHTS + start, every)
        for base, size in ((K_BASE, K_ROW), (V_BASE, V_ROW)):
            found += run(base + token * size, batch * size, write=True)
        token += batch
    return found


def _copy(total: int, part: int) -> list[Burst]:
    found = list[Burst]()
    for start in range(0, total // 2, part):
        found += [*run(start, part, part), *run(V_BASE + start, part, part, write=True)]
    return found


def patterns(total: int) -> dict[str, tuple[Ddr4Params, list[Burst]]]:
    """What is measured, by name; about `total` bytes each, an eighth where blocks are random."""
    orders = {"rcbg": "row, column, bank, group", "rbgc": "row, bank, group, column"}
    few = total // 8
    return {
        "in order, bursts of 4 KiB": (KV260, _sequential(total, 4096)),
        "in order, bursts of 1 KiB": (KV260, _sequential(total, 1024)),
        "in order, bursts of 64 bytes": (KV260, _sequential(total, 64)),
        "in order, 8 refreshes at once": (
            dataclasses.replace(KV260, refresh_batch=8),
            _sequential(total, 4096),
        ),
        **{
            f"in order, address {text}": (dataclasses.replace(KV260, order=order), _sequential(total, 4096))
            for order, text in orders.items()
        },
        "KV rows, K and V in turn": (KV260, _rows(total, shuffled=False)),
        "KV rows, tokens in random order": (KV260, _rows(total, shuffled=True)),
        "random blocks": (KV260, _blocks(few)),
        "weights, KV of 1 token each 64 KiB": (KV260, _mixed(total, 1 << 16, 1)),
        "weights, KV of 8 tokens each 512 KiB": (KV260, _mixed(total, 1 << 19, 8)),
        "copy in bursts of 4 KiB": (KV260, _copy(total, 4096)),
        "copy in bursts of 64 bytes": (KV260, _copy(total, 64)),
        "random blocks, half of them written": (KV260, _blocks(few, writes=0.5)),
    }


def main() -> int:
    """Measure and print all patterns."""
    parser = argparse.ArgumentParser(prog="python -m bench.dram", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=8, help="moved by a pattern (default %(default)s)")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    rows, results = list[tuple[object, ...]](), {}
    for name, (params, bursts) in patterns(options.megabytes << 20).items():
        found = play(params, BUS, bursts, size=256 << 20)
        share = (found.read_beats + found.write_beats) / found.cycles
        hits = max(0, 1 - found.activates / (found.reads + found.writes))
        results[name] = dataclasses.asdict(found) | {"share": share}
        rows.append(
            (name, f"{share:.3f}", f"{19.2 * share:.2f}", f"{hits:.1%}", found.turns, found.refreshes)
        )
    print("DDR4-2400, 64 bits, behind a bus of 64 bytes at 300 MHz: both have a peak of 19.2 GB/s\n")
    print(table(rows, ("pattern", "of the peak", "GB/s", "row open", "turns", "refreshes")))
    alone = play(KV260, BUS, [Burst(0, 1)]).cycles
    path = KV260.latency
    print(f"\none block alone: {alone} cycles, of which {path} are the path to the controller")
    write_json(options.json, {"patterns": results, "one_block_cycles": alone})
    return 0


if __name__ == "__main__":
    sys.exit(main())
