"""The report as one HTML page: no scripts, no other files, legible light and dark."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from hw.isa import COUNTERS

from . import report_svg as svg

__all__ = ["page"]

MEANING = {counter.name: counter.meaning for counter in COUNTERS} | {"read_beats": "cycles with a read beat"}
BYTES = {"weights": "weights", "kv": "KV memory", "other": "other reads (constants, embedding, RoPE)",
         "written": "written (KV, logits, spill)"}  # fmt: skip
STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --page: #fff; --line: #ccc; --soft: #f3f3f3; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --page: #16181b; --line: #444; --soft: #22252a; }
}
body { background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; max-width: 960px;
       margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.2em; margin-top: 2em; border-bottom: 1px solid var(--line); }
h3 { font-size: 1em; margin-bottom: .2em; }
table { border-collapse: collapse; margin: .6em 0; font-size: .92em; }
.wide { overflow-x: auto; }
th, td { text-align: right; padding: .15em .7em; border-bottom: 1px solid var(--line); vertical-align: top; }
th:first-child, td:first-child { text-align: left; } td.text, th.text { text-align: left; }
th { background: var(--soft); font-weight: 600; }
svg { width: 100%; height: auto; } svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
svg text.on { fill: #000; } .grid { stroke: var(--line); stroke-width: .6; }
.roof { stroke: var(--ink); stroke-width: 1.6; } .dashed { stroke-dasharray: 6 4; }
.legend span { margin-right: 1.2em; white-space: nowrap; }
.legend i { display: inline-block; width: .9em; height: .9em; margin-right: .35em; vertical-align: -1px; }
.c0 { fill: #56b4e9; background: #56b4e9; } .c1 { fill: #009e73; background: #009e73; }
.c2 { fill: #e69f00; background: #e69f00; } .c3 { fill: #f0e442; background: #f0e442; }
.c4 { fill: #d55e00; background: #d55e00; } .c5 { fill: #cc79a7; background: #cc79a7; }
.c6 { fill: #999999; background: #999999; } .c7 { fill: #0072b2; background: #0072b2; }
circle { stroke: var(--ink); } code { font-size: .9em; overflow-wrap: anywhere; }
@media print { body { max-width: none; } details > * { display: block; } }
"""

#: Prose of the page.
ON_RTL = """RTL: exact cycle counts, bytes and stalls by the machine's own counters, cycles by layer from
its activity log; the clock is the one the machine is meant for. What binds decode is asked of the
estimate."""
ON_ESTIMATE = """ESTIMATE: the compiled program walked with the units' cycle budgets; nothing was
simulated (method and measured error: docs/estimate.md). Bytes are exact. The division of cycles within a
layer is approximate."""
BANKS = " It takes this memory's banks and rows as the nearest plain model: --on rtl has them."
BINDS = """<p>What binds: decode, by the estimate, the one without whose cost the token would be shortest;
a prompt, the one with the most cycles.</p>"""
ROOFLINE = """<p>A product is one weight or one K or V element times one activation, ternary ones
included; traffic is every byte read or written. Slopes: the bus, and dashed what an ideal sequential
reader gets from this memory. Levels: engines with one token and with a full tile.</p>"""
LAYERS = """<p>Each cycle counts once, for the first that holds, in the order of the legend. Occupied: the
unit had an instruction of this layer, working or waiting; units overlap, also from layer to layer. What
comes before the loop over layers counts as layer 0.</p>"""
THEIRS = """<p>Their figures are theirs, as their papers state them, of other models and boards; nothing
was measured here. Ours are at the clock that the machine is meant for; what a machine takes of an FPGA:
docs/resources.md.</p>"""


def page(result: Mapping[str, Any]) -> str:
    """The page of a report's JSON object."""
    title = f"{result['model']} on {result['machine']['name']}"
    sections = (_head, _summary, _roofline, _layers, _bytes, _stalls, _published)
    body = "\n".join(section(result) for section in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n</body></html>\n"
    )


def _table(rows: Iterable[Sequence[object]], head: Sequence[str], text: Sequence[int] = ()) -> str:
    """An HTML table; columns in `text` are left aligned, as the first always is."""

    def cells(row: Sequence[object], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=text' if i in text else ''}>{escape(str(cell))}</{tag}>"
            for i, cell in enumerate(row)
        )

    lines = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    top = f"<thead><tr>{cells(head, 'th')}</tr></thead>"
    return f'<div class="wide"><table>{top}<tbody>{lines}</tbody></table></div>'


def _head(result: Mapping[str, Any]) -> str:
    machine, dram, ceiling = result["machine"], result["dram"], result["ceiling"]
    rows = [
        ("artefact", _artefact(result["artefact"])),
        ("machine", f"{machine['name']} (digest {machine['digest'][:16]}), {machine['clock_mhz']:g} MHz, "
         f"bus of {machine['bus_bytes']} bytes: {machine['bytes_per_second'] / 1e9:.3g} GB/s"),
        ("memory", ", ".join(f"{name} {value}" for name, value in dram.items())),
        ("ideal sequential reader", f"{ceiling['value']:.4f} beats a cycle ({ceiling['how']})"),
        ("figures", _origin(result)),
        ("made by", f"trine {result['trine']}"),
    ]  # fmt: skip
    return _table(rows, ("", ""), (1,))


def _artefact(found: Mapping[str, str] | None) -> str:
    return f"{found['file']}, SHA-256 {found['sha256']}" if found else "none: a shape, without weights"


def _origin(result: Mapping[str, Any]) -> str:
    if result["source"] == "rtl":
        return ON_RTL
    plain = result["dram"]["model"] == "DramParams"
    return ON_ESTIMATE + ("" if plain else BANKS)


def _summary(result: Mapping[str, Any]) -> str:
    rows, extrapolated = [], 0
    for phase in result["phases"]:
        first = f"{phase['seconds']:.4g}" if phase["kind"] == "prompt" else ""
        ceiling = result["ceiling"]["value"]
        of = f"{phase['bus_utilisation'] / ceiling:.1%}"
        rows.append((phase["name"], phase["tile"], f"{phase['cycles']:,.0f}",
                     f"{phase['tokens_per_second']:,.1f}", first, f"{phase['bus_utilisation']:.1%}", of,
                     phase["binds"]))  # fmt: skip
        extrapolated = extrapolated or phase["extrapolated_from_layers"]
    head = ("phase", "tile", "cycles", "tokens/s", "time to first token, s", "bus moves a beat",
            "of the ceiling", "what binds")  # fmt: skip
    note = BINDS
    if extrapolated:
        note += f"<p>The prompt is extrapolated from {extrapolated} layers.</p>"
    return f"<h2>Speed</h2>{_table(rows, head)}{note}"


def _roofline(result: Mapping[str, Any]) -> str:
    machine, ceiling = result["machine"], result["ceiling"]["value"]
    rate, clock, tile = machine["bytes_per_second"], machine["clock_mhz"] * 1e6, machine["tile"]
    memories = {"bus": rate, "ideal reader": rate * ceiling}
    peaks = {}
    for engine, each in machine["peak_macs_per_cycle"].items():
        for tokens in sorted({1, tile}):
            peaks[f"{engine} engine, tile of {tokens}"] = each * clock * tokens
    points = [(phase["name"], phase["intensity"], phase["macs_per_second"]) for phase in result["phases"]]
    rows = []
    for phase in result["phases"]:
        roof = phase["intensity"] * rate * ceiling
        macs = phase["macs"]
        rows.append((phase["name"], *(f"{macs[kind]:,}" for kind in ("ternary", "integer", "attention")),
                     f"{phase['intensity']:.2f}", f"{phase['macs_per_second'] / 1e9:.3f}",
                     f"{roof / 1e9:.3f}"))  # fmt: skip
    head = ("phase", "ternary products", "integer products", "attention products", "products a byte",
            "10^9 products/s", "memory allows, 10^9/s")  # fmt: skip
    chart = svg.roofline(points, memories, peaks, "roofline: products per second against products per byte")
    return f"<h2>Roofline</h2>{ROOFLINE}{chart}{_table(rows, head)}"


def _layers(result: Mapping[str, Any]) -> str:
    parts = ["<h2>Cycles per layer and unit</h2>"]
    names = list(result["phases"][0]["account"])
    parts.append(svg.legend([name.replace("_", " ") for name in names]))
    for phase in result["phases"]:
        parts.append(f"<h3>{escape(phase['name'])}</h3>")
        if not phase["layers"]:
            parts.append("<p>Extrapolated: no layer was walked on its own.</p>")
            continue
        last = max(layer["layer"] for layer in phase["layers"])
        label = {last: "end, head"}
        bars = {label.get(row["layer"], str(row["layer"])): row["account"] for row in phase["layers"]}
        parts.append(svg.columns(bars, f"cycles by layer, {phase['name']}", "cycles"))
        units = list(phase["layers"][0]["occupied"])
        rows = [
            (label.get(row["layer"], row["layer"]), f"{sum(row['account'].values()):,.0f}",
             *(f"{row['occupied'][unit]:,.0f}" for unit in units), _longest(row["occupied"]))
            for row in phase["layers"]
        ]  # fmt: skip
        head = ("layer", "cycles", *(f"{unit} occupied" for unit in units), "longest")
        parts.append(f"<details><summary>as a table</summary>{_table(rows, head)}</details>")
    parts.append(LAYERS)
    return "".join(parts)


def _longest(occupied: Mapping[str, float]) -> str:
    return max(occupied, key=lambda unit: occupied[unit])


def _bytes(result: Mapping[str, Any]) -> str:
    phases = result["phases"]
    bars = {p["name"]: {BYTES[kind]: p["bytes"][kind] for kind in BYTES} for p in phases}
    rows = [
        (meaning, *(f"{phase['bytes'][kind]:,.0f}" for phase in phases)) for kind, meaning in BYTES.items()
    ]
    rows.append(("all", *(f"{phase['bytes']['all']:,.0f}" for phase in phases)))
    rows.append(("for each token", *(f"{phase['bytes']['all'] / phase['tokens']:,.0f}" for phase in phases)))
    head = ("bytes", *(phase["name"] for phase in phases))
    chart = svg.legend(list(BYTES.values())) + svg.stack(bars, "bytes by kind")
    return f"<h2>Bytes by kind</h2>{chart}{_table(rows, head)}"


def _stalls(result: Mapping[str, Any]) -> str:
    phases, parts = result["phases"], ["<h2>Where the cycles go</h2>"]
    for member, title in (("account", "the units"), ("bus", "the bus")):
        names = list(phases[0][member])
        parts.append(f"<h3>{title}</h3>")
        if any(value is None for value in phases[0][member].values()):
            rows = [
                (p["name"], f"{p['bus']['read_beats']:,.0f}", f"{p['bus_utilisation']:.1%}") for p in phases
            ]
            parts.append(_table(rows, ("phase", "read beats", "of the cycles")))
            parts.append("<p>Why the bus moves none in the others is not estimated: --on rtl has it.</p>")
            continue
        bars = {p["name"]: {name.replace("_", " "): p[member][name] for name in names} for p in phases}
        parts += [svg.legend([name.replace("_", " ") for name in names]), svg.stack(bars, title)]
        rows = [
            (name, *(_share(p[member][name], p["cycles"]) for p in phases), MEANING[name]) for name in names
        ]
        head = ("cycles", *(p["name"] for p in phases), "meaning")
        parts.append(_table(rows, head, (len(head) - 1,)))
    return "".join(parts)


def _published(result: Mapping[str, Any]) -> str:
    rows = []
    ours = f"{result['machine']['name']}, {result['machine']['bytes_per_second'] / 1e9:.3g} GB/s"
    for phase in result["phases"]:
        decode = phase["kind"] == "decode"
        rows.append((f"Trine, {phase['name']}", ours, result["model"], f"{result['machine']['clock_mhz']:g}",
                     f"{phase['tokens_per_second']:,.1f}" if decode else "",
                     f"{phase['bus_utilisation']:.1%}" if decode else "",
                     "" if decode else f"{phase['tokens']}: {phase['seconds']:.3g}", "", "",
                     "RTL" if result["source"] == "rtl" else "estimate", ""))  # fmt: skip
    for one in result["published"]:
        shares = "" if one["bandwidth"] is None else f"{one['bandwidth']:.0%}"
        if "bandwidth" in one["derived"]:
            shares += " (derived)"
        first = "; ".join(f"{tokens}: {seconds:g}" for tokens, seconds in one["first_token"])
        rams = [f"{one['block_ram']} block RAM"] if one["block_ram"] is not None else []
        rams += [f"{one['ultra_ram']} URAM"] if one["ultra_ram"] is not None else []
        logic = [f"{one[kind]:,} {kind.upper()}" for kind in ("lut", "ff", "dsp") if one[kind] is not None]
        rows.append((one["name"], one["device"], one["model"], _or_empty(one["clock_mhz"]),
                     _or_empty(one["tokens_per_second"]), shares, first, ", ".join(logic), ", ".join(rams),
                     one["source"], one["note"]))  # fmt: skip
    head = ("system", "device", "model", "MHz", "tokens/s", "of the bandwidth", "prompt: first token, s",
            "logic", "memories", "whose figure", "note")  # fmt: skip
    return "<h2>Published systems</h2>" + THEIRS + _table(rows, head, (1, 2, 7, 8, 9, 10))


def _share(value: float, cycles: float) -> str:
    return f"{value:,.0f} ({value / cycles:.1%})"


def _or_empty(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
