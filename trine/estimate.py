"""Say how fast a model will run on a machine, what binds it and what memory it needs, without running it.

The compiled program is walked instruction by instruction with the cycle budgets of the units; nothing is
simulated, and no RTL is looked at; of an artefact neither weights nor image are read. `docs/estimate.md` has
the method and its measured error.
"""

import argparse
import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.estimate import Estimate, estimate, memory_bytes
from compiler.memory_map import MemoryMap
from hw.machine import MACHINES, MachineConfig
from models.config import ModelConfig
from sim.dram import DramParams

from .dram_option import parse_dram
from .errors import EXIT_OK, UsageError
from .output import note, table, write_json
from .subject import add_shape_arguments, of_file, of_shape

if TYPE_CHECKING:  # with the boards comes Amaranth, which takes half a second
    from boards.board import Board

#: Context and prompt where the command line says nothing and the model allows it, in tokens.
CONTEXT, PROMPT = 512, 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FILE or --shape, --machine, --context, --prompt-tokens, --tile, --chunk, --dram."""
    parser.add_argument(
        "file", type=Path, nargs="?", metavar="FILE", help="a checkpoint or a .trine artefact"
    )
    parser.add_argument(
        "--machine",
        choices=sorted(MACHINES),
        help="machine (default: the artefact's, or ci for a checkpoint or shape)",
    )
    parser.add_argument(
        "--context",
        type=int,
        metavar="N",
        help=f"tokens that the decoded one sees, itself included (default {CONTEXT} or the model's context)",
    )
    parser.add_argument(
        "--prompt-tokens",
        type=int,
        metavar="P",
        help=f"tokens of the prompt, BOS included (default {PROMPT}, or the model's context)",
    )
    parser.add_argument(
        "--tile", type=int, metavar="T", help="tokens that share each weight (default: the machine's most)"
    )
    parser.add_argument(
        "--chunk",
        type=int,
        metavar="C",
        help="tokens of a prompt by one doorbell (default: the machine's most)",
    )
    parser.add_argument(
        "--dram",
        default="",
        metavar="LIST",
        help="memory timing as NAME=NUMBER,... over the default (the board's), as for `trine run`",
    )
    parser.add_argument(
        "--board", metavar="NAME", help="the board: its machine, clock and memory; refuses what does not fit"
    )
    add_shape_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Estimate and print."""
    begin = time.perf_counter()
    board = _board(args)
    dram = parse_dram(args.dram or (board.memory.dram if board else ""))
    subject = of_shape(args, args.file, "FILE") or of_file(args.file, args.machine)
    config, machine, program, memory = subject.config, subject.machine, subject.program, subject.memory
    if board:
        machine = _on_board(board, machine, memory)
    context = _within("context", args.context, CONTEXT, config.context, "the model's context")
    prompt = _within("prompt-tokens", args.prompt_tokens, PROMPT, config.context, "the model's context")
    tile = _within("tile", args.tile, machine.tile, machine.tile, f"machine {machine.name!r}")
    chunk = _within("chunk", args.chunk, machine.max_chunk, machine.max_chunk, f"machine {machine.name!r}")
    memory_timing = dram.plain(machine)
    found = estimate(
        machine, memory_timing, program, position=context - 1, prompt=prompt, tile=tile, chunk=chunk
    )
    result = _result(config, machine, dram, memory, found, context)
    _print(result)
    result["wall_seconds"] = time.perf_counter() - begin
    note(f"estimated in {result['wall_seconds']:.1f} s from {len(program) // 24} instructions")
    write_json(args.json, result)
    return EXIT_OK


def _board(args: argparse.Namespace) -> "Board | None":
    """The board asked for, whose machine is the default; UsageError for one that has no overlay."""
    if args.board is None:
        return None
    from boards.board import BoardError, find_board

    try:
        board = find_board(args.board)
    except BoardError as error:
        raise UsageError(f"--board: {error}") from error
    if board.machine is None:
        raise UsageError(
            f"--board: wanted a board that an overlay fits, found {board.name}; its design is a small one of "
            f"its own ({board.page})"
        )
    args.machine = args.machine or board.machine.name
    return board


def _on_board(board: "Board", machine: MachineConfig, memory: MemoryMap) -> MachineConfig:
    """The machine at the board's clock; UsageError where machine or model is too large for it."""
    from boards.board import BoardError
    from boards.fit import check_fit

    try:
        check_fit(board, machine)
    except BoardError as error:
        raise UsageError(f"--board: {error}") from error
    if memory.total_bytes > board.memory.size:
        raise UsageError(
            f"--board: {board.title} has {board.memory.size:,} bytes of memory, the model needs "
            f"{memory.total_bytes:,} for weights, KV and scratch; take a smaller context (trine compile "
            "--kv-rows), a smaller model or another board"
        )
    return dataclasses.replace(machine, clock_mhz=board.clock_mhz)


def _within(name: str, value: int | None, usual: int, most: int, whose: str) -> int:
    """An option's value, or the usual one as far as it is allowed; UsageError outside 1 to `most`."""
    if value is None:
        return min(usual, most)
    if not 1 <= value <= most:
        raise UsageError(
            f"--{name}: wanted 1 to {most} ({whose}), found {value}; leave it out for {min(usual, most)}"
        )
    return value


def _result(
    config: ModelConfig,
    machine: MachineConfig,
    dram: DramParams,
    memory: MemoryMap,
    found: Estimate,
    context: int,
) -> dict[str, Any]:
    """The object that --json writes."""
    clock = machine.clock_mhz * 1e6
    run, prefill = found.decode.run, found.prefill
    read = {name: run.counters[name] for name in ("weight_bytes", "kv_read_bytes", "other_bytes")}
    contexts = sorted({*(2**i for i in range(6, 20) if 2**i < config.context), config.context, context})
    return {
        "model": config.name,
        "machine": machine.name,
        "clock_mhz": machine.clock_mhz,
        "decode": {
            "context": context,
            "cycles_per_token": run.cycles,
            "tokens_per_second": clock / run.cycles,
            "bytes": read | {"kv_write_bytes": run.counters["kv_write_bytes"]},
            "bus_utilisation": run.counters["read_beats"] / run.cycles,
            "busy": {name: cycles / run.cycles for name, cycles in run.busy.items()},
            "starved": run.starved / run.cycles,
            "binds": found.decode.binds,
            "cycles_if_free": found.decode.without,
            "dependency_limit": found.decode.limit,
        },
        "prefill": {
            "prompt_tokens": prefill.tokens,
            "tile": prefill.tile,
            "chunk": prefill.chunk,
            "cycles": prefill.cycles,
            "seconds_to_first_token": prefill.cycles / clock,
            "extrapolated_from_layers": prefill.layers_walked,
        },
        "memory": {str(n): memory_bytes(memory, config.layers, n) for n in contexts},
        "regions": {name: region.size for name, region in memory.regions.items()},
        "dram": vars(dram),
    }


def _print(result: dict[str, Any]) -> None:
    """Tables."""
    decode, prefill = result["decode"], result["prefill"]
    clock = f"at {result['clock_mhz']:g} MHz"
    rows = [
        ("decode: cycles per token", f"{decode['cycles_per_token']:.0f}", f"context {decode['context']}"),
        ("decode: tokens per second", f"{decode['tokens_per_second']:.1f}", clock),
        ("time to first token, s", f"{prefill['seconds_to_first_token']:.4f}",
         f"prompt of {prefill['prompt_tokens']}, tiles of {prefill['tile']}, chunks of {prefill['chunk']}, "
         f"{prefill['cycles']:.0f} cycles"),
        *((f"decode: {name.replace('_', ' ')}", size, "") for name, size in decode["bytes"].items()),
        ("decode: bus moves a read beat", f"{decode['bus_utilisation']:.1%}", "of the cycles"),
        *((f"decode: {name} busy", f"{part:.1%}", "of the cycles") for name, part in decode["busy"].items()),
    ]  # fmt: skip
    rows.insert(2, ("decode: dependency limit", f"{decode['dependency_limit']:.0f}",
                    "cycles: its longest chain, memory and units free"))  # fmt: skip
    if prefill["extrapolated_from_layers"]:
        note(f"time to first token is extrapolated from {prefill['extrapolated_from_layers']} layers")
    print(table(rows, (f"{result['model']} on {result['machine']}", "estimate", "")), end="\n\n")
    gains = sorted(decode["cycles_if_free"].items(), key=lambda item: item[1])
    print(table(
        [(name, f"{cycles:.0f}", f"{1 - cycles / decode['cycles_per_token']:.1%}") for name, cycles in gains],
        (f"what binds: {decode['binds']}", "cycles per token if it cost nothing", "less"),
    ), end="\n\n")  # fmt: skip
    print(table(
        [(n, *sizes.values()) for n, sizes in result["memory"].items()],
        ("memory: context", "weights", "KV", "logits, spill", "bytes in all"),
    ))  # fmt: skip
