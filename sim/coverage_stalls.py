"""Which wait bounds the RTL stood still for: a monitor written into the text of the sequencer.

The simulator appends to the file that ``+stalls=`` names, at its end, a line for each bin: unit, unit waited
for, bound, cycles.
"""

import re
from pathlib import Path

from hw.isa import BY_OPCODE, HEADER, NO_WAIT, Unit
from hw.machine import MachineConfig

from .coverage import UNITS, Coverage
from .verilate import Progress, build, overlay_verilog

__all__ = ["build_monitored", "hit_stalls", "monitored"]

_OFFSET = {field.name: sum(f.bits for f in HEADER[:i]) for i, field in enumerate(HEADER)}
_WIDTH = HEADER[0].bits


def monitored(verilog: str) -> str:
    """The overlay's text with the monitor; ValueError where the sequencer is not the one it knows."""
    verilog = _into(verilog, "sequencer", _issue)
    return _into(verilog, "sequencer.front", _fetch)


def build_monitored(machine: MachineConfig, progress: Progress = lambda _: None) -> Path:
    """The simulator of a machine with the monitor."""
    return build(monitored(overlay_verilog(machine, progress)), machine.bus_bytes, progress)


def hit_stalls(coverage: Coverage, path: Path) -> None:
    """Hit the bins that a simulator wrote to a file."""
    for line in path.read_text().splitlines() if path.exists() else ():
        unit, other, bound, cycles = line.split()
        coverage.hit("stalled", f"{unit} on {other} {bound}", int(cycles))


def _into(verilog: str, module: str, text: object) -> str:
    found = re.search(rf"^module \\overlay\.{re.escape(module)} .*?^endmodule", verilog, re.M | re.S)
    if found is None:
        raise ValueError(f"wanted a module {module}, found none")
    body = found[0].removesuffix("endmodule")
    return verilog[: found.start()] + body + text(body) + "endmodule" + verilog[found.end() :]  # type: ignore


def _issue(body: str) -> str:
    """The head of the issue queue waits: a bound that is exceeded, whatever the other bounds say."""
    queue = re.search(r"\\overlay\.sequencer\.queue  queue \((.*?)\);", body, re.S)
    if queue is None:
        raise ValueError("wanted the issue queue of the sequencer, found none")
    ports = dict(re.findall(r"\.(\w+)\((.*?)\)[,\n]", queue[1]))
    lines, counters = [], []
    for unit in UNITS:
        mine = " | ".join(
            f"({ports['r_data']}[{_WIDTH - 1}:0] == {row.opcode})"
            for row in BY_OPCODE.values()
            if row.unit == unit
        )
        for other in UNITS:
            at = _OFFSET[f"wait_{other.name.lower()}"]
            wait, unfinished = f"{ports['r_data']}[{at + 1}:{at}]", f"outstanding_{other.name.lower()}"
            for bound in range(NO_WAIT):
                condition = f"{ports['r_rdy']} & ({mine}) & ({wait} == {bound}) & ({unfinished} > {bound})"
                lines.append((condition, f"{unit.name} {other.name} {bound}"))
    counters = lines
    return _counting(counters)


def _fetch(body: str) -> str:
    """A FETCH stays in its state while too many STOREs are unfinished."""
    opcode = next(row.opcode for row in BY_OPCODE.values() if row.unit == Unit.FETCH)
    at, lines = _OFFSET["wait_store"], []
    for bound in range(NO_WAIT):
        condition = (f"(trine_state == fsm_state) & (word[{_WIDTH - 1}:0] == {opcode}) & "
                     f"(word[{at + 1}:{at}] == {bound}) & (stores > {bound})")  # fmt: skip
        lines.append((condition, f"FETCH STORE {bound}"))
    state = "  reg [7:0] trine_state = 0;\n  always @(posedge clk) trine_state <= fsm_state;\n"
    return state + _counting(lines)


def _counting(lines: list[tuple[str, str]]) -> str:
    """Counters of the cycles in which conditions hold, written at the end."""
    found = [f"  longint trine_count [{len(lines)}] = '{{default: 0}};\n  always @(posedge clk) begin\n"]
    found += [f"    if ({condition}) trine_count[{i}] = trine_count[{i}] + 1;\n"
              for i, (condition, _) in enumerate(lines)]  # fmt: skip
    found += ["  end\n  string trine_path;\n  int trine_file;\n  final begin\n",
              '    if ($value$plusargs("stalls=%s", trine_path)) begin\n',
              '      trine_file = $fopen(trine_path, "a");\n']  # fmt: skip
    found += [
        f'      $fdisplay(trine_file, "{text} %0d", trine_count[{i}]);\n' for i, (_, text) in enumerate(lines)
    ]
    found += ["      $fclose(trine_file);\n    end\n  end\n"]
    return "".join(found)
