"""Write docs/cli.md from the command line's own parser: ``python -m docs.generate_cli``."""

import argparse
from pathlib import Path

from trine.cli import build_parser

TARGET = Path(__file__).with_name("cli.md")
RUN_JSON = """\
## JSON of `run` and `check`

| member | meaning |
|---|---|
| `backend`, `machine` | what ran (for `check`: the list, comma separated), and the machine of the artefact |
| `prompt_tokens`, `tokens`, `text` | of the first text: ids of the prompt with BOS; the generated ids only; \
their text, without what ended it |
| `texts` | `run` only: for each text `prompt_tokens`, `tokens`, `text`, and \
`ended`: "stop" (an end token or `--stop`) or "count" |
| `cycles` | `prefill`: all doorbells of prompts, of which each prompt's last finds its first new token; \
`decode`: the others; `per_token`: decode cycles for each token decoded, of all texts; \
`each`: by doorbell, first those of prompts. Null without RTL, `each` empty |
| `bytes` | `weights`, `kv_read`, `other` (fetched), `kv_write`; null on golden |
| `bus` | `bytes_per_cycle`; `utilisation` = useful decode bytes \
(each weight at its packed width once a step, each live KV byte once) / (cycles x bytes per cycle); \
`ceiling` = what an ideal sequential reader gets from the same memory |
| `counters` | `hw.isa.COUNTERS` over the whole run, where the backend has them |
| `wall_seconds`, `simulated_cycles_per_second` | wall time of the verb; \
cycles per second of simulation alone |
| `backends` | `check` only: the backends as a list |
| `exact`, `first_difference` | `check` only: whether all agree; \
null, or what, layer, position, element and both values |
| `vectors` | `check` only: null where the artefact has no test vectors |
"""
REPORT_JSON = """
## JSON of `report`

The same whatever `--on` says; only where stated is a member null.

| member | meaning |
|---|---|
| `schema`, `trine`, `source` | 1; version; "estimate" or "rtl" |
| `model`, `artefact` | name; `file` and `sha256` of the whole file, null of a shape |
| `machine` | `name`, `digest`, `named`, `family`, `clock_mhz`, `bus_bytes`, `bytes_per_second`, `tile`, and \
`peak_macs_per_cycle` of one token, by engine that the program uses: `ternary`, `integer` |
| `dram`, `ceiling` | the memory's parameters; `value`: beats a cycle of an ideal sequential reader, `how`: \
"measured" or "computed" |
| `phases` | first one decode token at each `--context`, then the prompt: the members below |
| `published` | figures of other systems, as their papers state them (`source`); `derived`: members computed \
from such figures |
| `name`, `kind`, `tokens`, `context`, `tile` | kind: "decode" or "prompt" |
| `cycles`, `seconds`, `tokens_per_second` | at `clock_mhz` |
| `binds` | memory, matmul, vector, attention or latency: of decode the one without whose cost the \
estimated token \
is shortest, of a prompt the one with most of the cycles in `account` |
| `bytes` | `weights`, `kv`, `other` (read), `written`, `all` |
| `macs` | products that the model asks for: `ternary`, `integer`, `attention`, `all` |
| `intensity`, `macs_per_second` | all products / all bytes; / seconds |
| `bus` | cycles by what the bus did: `read_beats`, `bus_full`, `bus_wait`, `bus_idle`; from the \
estimate the last \
three are null |
| `bus_utilisation` | read beats / cycles |
| `account` | cycles by what the units did, each counted once: `matmul_active`, `attention_active`, \
`matmul_starved`, `attention_starved`, `vector_starved`, `vector_only`, `overhead` ([isa.md](isa.md)) |
| `layers` | by `layer` (before the loop: 0; after it: the number of layers): `account` as above, and \
`occupied`: \
cycles in which `matmul`, `vector`, `attention`, `store` had an instruction of it. Empty where extrapolated |
| `extrapolated_from_layers` | 0 where all were walked or run |
"""
TRACE_JSON = """
## The file of `trace`, and its JSON

Trace-event JSON: `ts` and `dur` are microseconds in whole ns; a cycle is a period of the machine's \
clock, and cycle 0 \
begins with the first doorbell. `args.cycle` and `args.cycles` of a slice are exact. `otherData` has \
the artefact, the \
memory, the counters.

| row | slices |
|---|---|
| `runs of the program` | one for each step |
| `fetch` | a run of memory, from its first read beat to its last: `weights`, `kv`, `other`; `bytes`, \
`address`, \
`layer`, `asked_in_cycle` |
| `bus` | `busy`, `full`, `wait`, `idle`, as in the counters `read_beats`, `bus_full`, `bus_wait`, \
`bus_idle` |
| `matmul`, `vector`, `attention`, `store` | an instruction while it is the oldest of its unit: \
`instruction` with \
its operands, `index` in the program (null where several are alike), `layer`, `first` and `tokens` of \
its tile, \
`accepted_in_cycle`, `done_in_cycle`, and its share of the counters (`matmul_active_cycles` ..) |
| `matmul: begun behind another` .. | the same before that, while it is the second of its unit |
| counters | words in the tape FIFO, bytes a cycle read and written, shares of `account`: about every \
64 cycles |

`--json` has `otherData`, and `file`, `events`, `slices` by row.
"""


def arguments(parser: argparse.ArgumentParser) -> list[str]:
    """A table of the arguments, and one of each named group of options."""
    tables: dict[str, list[str]] = {}
    for group in parser._action_groups:
        title = ""
        if group.title not in ("positional arguments", "options"):
            title = f"{str(group.title).capitalize()}. {group.description or ''}".strip()
        rows = [_row(a) for a in group._group_actions if not isinstance(a, argparse._HelpAction)]
        tables.setdefault(title, []).extend(rows)
    lines: list[str] = []
    for title, rows in tables.items():
        lines += ["", title, ""] if title else []
        lines += ["| argument | meaning |", "|---|---|", *rows]
    return lines


def _row(action: argparse.Action) -> str:
    name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
    if action.option_strings and action.nargs != 0:
        choices = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else ""
        name += f" {action.metavar or choices or action.dest.upper()}"
    return f"| `{name}` | {(action.help or '') % {'default': action.default}} |"


def page() -> str:
    """The whole reference page."""
    parser = build_parser()
    verbs = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    lines = ["# The `trine` command", "", "Generated by `python -m docs.generate_cli`; do not edit.", ""]
    lines += [str(parser.epilog), ""]
    for name, child in verbs.choices.items():
        lines += [f"## `trine {name}`", "", str(child.description), "", *arguments(child), ""]
    return "\n".join(lines) + "\n" + RUN_JSON + REPORT_JSON + TRACE_JSON


if __name__ == "__main__":
    TARGET.write_text(page())
