"""The part of the module ``trace`` that watches what every unit does; ``activity.cpp`` keeps the log.

What a cycle was is taken from the increments of the machine's own counters, so that sums over the log are the
counters. `sim.activity_log` reads the file.
"""

from collections.abc import Callable

from hw.isa import INSTRUCTION_BITS

__all__ = ["ACCOUNT", "BUS", "UNITS", "activity_block"]

#: What the bus did in a cycle, and what the units did: exactly one of each list (names of counters).
BUS = ("read_beats", "bus_full", "bus_wait", "bus_idle")
ACCOUNT = ("matmul_active", "attention_active", "matmul_starved", "attention_starved", "vector_starved",
           "vector_only", "overhead")  # fmt: skip
#: Components with a `UnitPort` called ``unit``, in the order of their numbers in the log.
UNITS = ("matmul", "vector", "attention", "store")
#: `hw.ports.command_layout`: word, layer (16), first (8), more (3).
_COMMAND_BITS = INSTRUCTION_BITS + 16 + 8 + 3
_IMPORT = 'import "DPI-C" function void'


def activity_block(expression: Callable[[str, str], str], bus_bytes: int) -> str:
    """SystemVerilog for the module; `expression(component, text)` as in `sim.trace_module`."""

    def counter(name: str) -> str:
        return expression("counters", f"add_{name}")

    accepted = [expression(unit, "unit.command.valid & unit.command.ready") for unit in UNITS]
    dones = [expression(unit, "unit.done") for unit in UNITS]
    #: From bit 0 on; activity.cpp has the same order.
    flags = [
        *map(counter, BUS), *map(counter, ACCOUNT), expression("dram", "w_valid & w_ready"),
        expression("steps", "begin"), expression("steps", "step"), *accepted, *dones,
    ]  # fmt: skip
    status = "{" + ", ".join(f"1'({flag})" for flag in reversed(flags)) + "}"
    payloads = [expression(unit, "unit.command.payload") for unit in UNITS]
    commands = "\n".join(
        f"        if ({taken}) activity_command({number}, run_cycle, {payload});"
        for number, (taken, payload) in enumerate(zip(accepted, payloads, strict=True))
    )
    names = ("appended", "kind", "bytes", "layer")
    appended, kind, size, layer = (expression("sequencer", name) for name in names)
    taken = expression("fetch", "run.valid & run.ready")
    run = expression("fetch", "run.payload")
    return f"""
    // The activity log, if +activity=FILE.
    {_IMPORT} activity_open(input string path, input int bus_bytes);
    {_IMPORT} activity_command(input int unit, input longint unsigned cycle,
        input bit [{_COMMAND_BITS - 1}:0] command);
    {_IMPORT} activity_append(input int kind, input int unsigned bytes, input int layer);
    {_IMPORT} activity_run(input longint unsigned cycle, input longint unsigned run);
    {_IMPORT} activity_cycle(input longint unsigned cycle, input int status, input int level);
    {_IMPORT} activity_flush();

    string activity_path = "";
    bit watching = 0, watched = 0;
    initial if ($value$plusargs("activity=%s", activity_path)) begin
        activity_open(activity_path, {bus_bytes});
        watching = 1;
    end
    always_ff @(posedge clk) if (watching) begin
        if ({counter("cycles")}) begin
{commands}
        if ({appended}) activity_append(int'({kind}), {size}, int'({layer}));
        if ({taken}) activity_run(run_cycle, {run});
        activity_cycle(run_cycle, int'({status}), int'({expression("fetch.fifo", "level")}));
        end
        watched <= running;
        if (watched && !running) activity_flush();
    end
    final if (watching) activity_flush();
"""
