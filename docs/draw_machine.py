"""Draw docs/machine.svg from the design: ``python -m docs.draw_machine``.

Units, connections and sizes come from an elaborated `hw.overlay.Overlay`; places and routes stand in
`docs.machine_places`. What the design has and the tables do not, or the other way round, is an error.
"""

import fnmatch
import re
import sys
import textwrap
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from amaranth.hdl import UnusedElaboratable

from hw.machine import CI, MachineConfig

from .machine_places import BOXES, HEIGHT, LEGEND, OUTSIDE, ROUTES, WIDTH, WIRES, Box, Card, Route
from .machine_wiring import Link, Machine, elaborated, memory_bits

TARGET = Path(__file__).with_name("machine.svg")
#: Fill of cards and of boxes, their edges, and the colours of data, commands and single signals.
INK, PAPER, FILL, CARD, EDGE = "#1c2b36", "#ffffff", "#eef3f8", "#fffdf5", "#5a6f80"
COLOURS = {"data": "#1f5f9e", "command": "#a8500c", "wire": "#7a8790"}
#: Members of the sequencer whose streams are commands.
COMMANDS = ("units", "run")


class DesignError(AssertionError):
    """The design and the tables of places disagree."""


def picture(config: MachineConfig = CI) -> str:
    """The SVG text."""
    machine = Machine(config)
    wider = Machine(replace(config, tile=2 * config.tile))
    _agree("units", machine.units, BOXES)
    _agree("connections", [_key(link) for link in machine.links], ROUTES)
    signals = {pair for pair in machine.wires if pair[1] != "counters"}
    _agree("signals between units", signals, WIRES)
    body = [_frame()]
    for pair, route in WIRES.items():
        if route is not None:
            if missing := set(route.names) - set(machine.wires[pair]):
                raise DesignError(f"signals of {pair}: the design has no {', '.join(missing)}")
            body.append(_line(route, "wire") + _label(route, [", ".join(route.names)], "wire"))
    for link in machine.links:
        route, kind = ROUTES[_key(link)], _kind(link)
        body.append(_line(route, kind, link.both) + _label(route, [link.name, _amount(link.bits)], kind))
    for name, (x, y, w, h) in OUTSIDE.items():
        body.append(_rect(x, y, w, h, FILL))
        body.append(_text(x + w / 2, y + h / 2, [name], "middle", "b", turned=True))
    for name, box in BOXES.items():
        body += _box(name, box, machine, wider, config)
    body += _legend(config)
    return "\n".join((*_head(), *body, "</svg>")) + "\n"


def _key(link: Link) -> tuple[str, str]:
    return ".".join(link.source), ".".join(link.target)


def _kind(link: Link) -> str:
    return "command" if link.source[0] == "sequencer" and link.source[1] in COMMANDS else "data"


def _agree(what: str, design: Iterable[Any], table: Iterable[Any]) -> None:
    design, table = set(design), set(table)
    if design != table:
        raise DesignError(
            f"{what}: without a place {sorted(design - table)}, not in the design {sorted(table - design)}"
        )


def _amount(bits: int) -> str:
    return f"{bits} bits" if bits % 8 else f"{bits // 8} B"


# --- what the design says of a unit -----------------------------------------------------------------------


def _title(unit: Any) -> tuple[str, str]:
    """Class name in words; the first line of the module's docstring, or of its own if that says no more."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(unit).__name__).capitalize()
    module, own = (
        " ".join((text or "").strip().split("\n\n")[0].replace("`", "").split()).rstrip(".")
        for text in (sys.modules[type(unit).__module__].__doc__, type(unit).__doc__)
    )
    before, colon, after = module.partition(": ")
    if name.lower() not in before.lower():
        return name, module
    return name, after if colon else own


def _shortened(text: str, chars: int, lines: int) -> list[str]:
    """As many of its clauses as fit into the lines."""
    while len(found := textwrap.wrap(text, chars)) > lines:
        cut = max(text.rfind(mark) for mark in (". ", ", ", "; ", ": "))
        if cut < 0:
            raise DesignError(f"{text!r} is too long for {lines} lines of {chars}")
        text = text[:cut]
    return found


def _per_token(card: Card, name: str, machine: Machine, wider: Machine) -> int:
    """Bytes of memory that a token has in a card; that they grow with the tile is checked."""
    found = []
    for one in (machine, wider):
        each = [list(_parts(one.units[name], path)) for path in card.parts]
        # Several parts by one pattern are alike; the last stands for all.
        found.append(sum(len(parts) * memory_bits(parts[-1]) for parts in each if parts))
    # What tokens share in a part, such as a queue of addresses, is small.
    if not found[0] or abs(found[1] / found[0] - 2) > 0.01:
        raise DesignError(f"{name}, {card.name}: wanted memories that grow with the tile, found {found} bits")
    return found[0] // machine.config.tile // 8


def _parts(component: Any, path: str) -> Iterator[Any]:
    """Submodules by a dotted path of patterns."""
    pattern, _, rest = path.partition(".")
    for name, part in elaborated(component.elaborate(None)):
        if fnmatch.fnmatch(name, pattern):
            yield from _parts(part, rest) if rest else (part,)


def _size(count: int) -> str:
    return f"{count} B" if count < 1024 else f"{count / 1024:.1f} KiB".replace(".0", "")


# --- drawing ----------------------------------------------------------------------------------------------


def _head() -> list[str]:
    """Opening: styles and arrow heads. The picture brings its own background."""
    heads = [
        f'<marker id="{kind}" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto-start-reverse"><path d="M0 .5L8 4L0 7.5z" fill="{colour}"/></marker>'
        for kind, colour in COLOURS.items()
    ]
    lines = [f".{kind}{{stroke:{colour}}}.t{kind}{{fill:{colour}}}" for kind, colour in COLOURS.items()]
    style = (
        "text{font:10.5px 'DejaVu Sans',Verdana,sans-serif;fill:" + INK + ";stroke:" + PAPER
        + ";stroke-width:3px;paint-order:stroke;stroke-linejoin:round}"
        ".b{font-size:12.5px;font-weight:bold}.in{stroke:none}.size{font-style:italic}"
        "polyline{fill:none;stroke-width:1.5}.command{stroke-dasharray:5 3}"
        ".wire{stroke-dasharray:1.5 2.5}" + "".join(lines)
    )  # fmt: skip
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img" aria-label="Units of the machine and what connects them">',
        "<!-- Written by python -m docs.draw_machine from hw/overlay.py. -->",
        f"<defs>{''.join(heads)}<style>{style}</style></defs>",
    ]


def _frame() -> str:
    return _rect(0.5, 0.5, WIDTH - 1, HEIGHT - 1, PAPER, 8)


def _rect(x: float, y: float, w: float, h: float, fill: str, round: int = 5) -> str:
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="{round}" fill="{fill}" stroke="{EDGE}"/>'
    )


def _text(
    x: float, y: float, lines: list[str], anchor: str = "start", style: str = "", turned: bool = False,
    steps: tuple[int, ...] = (),
) -> str:  # fmt: skip
    """Lines of text, the first on `y`; 13 units, or `steps`, to the next."""
    found = []
    for i, line in enumerate(lines):
        turn = f' transform="rotate(-90 {x:g} {y:g})" dy="4"' if turned else ""
        found.append(
            f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" class="{style}"{turn}>{escape(line)}</text>'
        )
        y += steps[i] if i < len(steps) else 13
    return "".join(found)


def _line(route: Route, kind: str, both: bool = False) -> str:
    start = f' marker-start="url(#{kind})"' if both else ""
    return f'<polyline class="{kind}" points="{route.points}"{start} marker-end="url(#{kind})"/>'


def _label(route: Route, lines: list[str], kind: str) -> str:
    """Two lines, or one where `oneline`; `split`: above and below a horizontal line."""
    if not route.at:
        return ""
    x, y = route.at
    if route.oneline:
        lines = [" ".join(lines)]
    return _text(x, y, lines, route.anchor, f"t{kind}", steps=(17,) if route.split else (12,))


def _box(name: str, box: Box, machine: Machine, wider: Machine, config: MachineConfig) -> Iterator[str]:
    """A unit: title, summary, sizes, cards."""
    sizes = {**asdict(config), "unit_bytes": config.unit_bytes, "fifo_bytes": config.fifo_bytes}
    for step in range(config.tile - 1, 0, -1) if box.stacked else ():
        yield _rect(box.x + 4 * step, box.y + 4 * step, box.w, box.h, CARD)
    yield _rect(box.x, box.y, box.w, box.h, CARD if box.stacked else FILL)
    title, summary = _title(machine.units[name])
    x, y = box.x + 9, box.y + 18
    yield _text(x, y, [title], style="b in")
    lines = _shortened(summary, box.chars, box.lines) if summary else []
    lines_of_sizes = [line.format(**sizes) for line in box.sizes]
    for card in box.cards if box.stacked else ():
        lines_of_sizes.append(f"{config.tile} x {_size(_per_token(card, name, machine, wider))}")
    yield _text(x, y + 15, lines, style="in")
    yield _text(x, y + 15 + 13 * len(lines), lines_of_sizes, style="in size")
    for path in box.inside:
        (part,) = _parts(machine.units[name], path)
        title, summary = _title(part)
        top = y + 15 + 13 * (len(lines) + len(lines_of_sizes))
        lines = _shortened(summary, box.chars - 2, 6)
        yield _rect(box.x + 7, top - 3, box.w - 14, 30 + 13 * len(lines), PAPER, 3)
        yield _text(x + 5, top + 13, [title], style="b in")
        yield _text(x + 5, top + 28, lines, style="in")
    for card in () if box.stacked else box.cards:
        each = _size(_per_token(card, name, machine, wider))
        left, top = box.x + card.x, box.y + box.h - 46
        for step in range(config.tile - 1, -1, -1):
            yield _rect(left + 2.5 * step, top + 2.5 * step, card.w, 31, CARD, 3)
        yield _text(left + 5, top + 13, [card.name.format(**sizes), f"{config.tile} x {each}"], style="in")


def _legend(config: MachineConfig) -> Iterator[str]:
    x, y = LEGEND
    for kind, text in (("data", "data"), ("command", "commands"), ("wire", "single signals")):
        yield f'<polyline class="{kind}" points="{x},{y} {x + 26},{y}" marker-end="url(#{kind})"/>'
        yield _text(x + 34, y + 4, [text])
        y += 16
    for step in range(config.tile - 1, -1, -1):
        yield _rect(x + 2.5 * step, y - 4 + 2.5 * step, 18, 10, CARD, 2)
    yield _text(x + 34, y + 6, [f"one for each of {config.tile}", "tokens of a tile"])
    note = (
        f"Machine {config.name}. A line carries at most what it says in a cycle. Only some of "
        "the single signals are drawn."
    )
    yield _text(x, y + 38, textwrap.wrap(note, 27))


def main() -> None:
    """Write the picture."""
    warnings.simplefilter("ignore", UnusedElaboratable)
    TARGET.write_text(picture())


if __name__ == "__main__":
    main()
