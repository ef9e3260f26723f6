"""Write ``docs/isa.md`` from the instruction table: ``python docs/generate_isa.py``."""

import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from hw import isa  # noqa: E402

PAGE = ROOT / "docs" / "isa.md"


def _table(titles: Iterable[str], rows: Iterable[Iterable[object]]) -> list[str]:
    """A Markdown table; | in a cell is escaped."""
    titles = list(titles)
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    lines = [titles, ["---"] * len(titles), *cells]
    return [f"| {' | '.join(line)} |" for line in lines]


def _field(item: isa.Field, offset: int) -> tuple[str, str, str]:
    """One row of a field table: name, bits, meaning with the names of its values."""
    bits = str(offset) if item.bits == 1 else f"{offset + item.bits - 1}:{offset}"
    meaning = item.meaning
    if item.values is not None:
        meaning += ": " + ", ".join(f"{value} {value.name}" for value in item.values)
    return f"`{item.name}`", bits + (" signed" if item.signed else ""), meaning


def page() -> str:
    """The whole reference page."""
    lines = [
        "# Instruction set",
        "",
        "Generated from `hw/isa.py` by `docs/generate_isa.py`; a test checks that it is current.",
        "",
        *(isa.__doc__ or "").strip().split("\n\n", 2)[2].splitlines(),
        "",
        "## Header",
        "",
        *_table(
            ("field", "bits", "meaning"),
            [_field(*placed) for placed in isa.fields_of(isa.INSTRUCTIONS[0])[: len(isa.HEADER)]],
        ),
    ]
    for row in isa.INSTRUCTIONS:
        body = [_field(*placed) for placed in isa.fields_of(row)[len(isa.HEADER) :]]
        lines += ["", f"## {row.name}", "", f"Opcode {row.opcode}, {row.unit.name} unit. {row.meaning}"]
        if body:
            lines += ["", *_table(("field", "bits", "meaning"), body)]
    lines += [
        "",
        "## Registers",
        "",
        "32-bit words by word index.",
        "",
        *_table(
            ("index", "name", "access", "meaning"),
            [(r.index, f"`{r.name}`", r.access, r.meaning) for r in isa.CSRS],
        ),
        "",
        "## Errors",
        "",
        *_table(("code", "meaning"), isa.ERRORS.items()),
        "",
        "## Counters",
        "",
        f"64 bits each: counter i at word {isa.COUNTER_BASE} + 2 i (low) and + 1 (high). Exact counters "
        "do not depend on time; the interpreter predicts them.",
        "",
        *_table(
            ("i", "name", "exact", "meaning"),
            [(i, f"`{c.name}`", "yes" if c.exact else "no", c.meaning) for i, c in enumerate(isa.COUNTERS)],
        ),
        "",
        "## KV descriptor",
        "",
        "For descriptor-driven fetches of later versions.",
        "",
        *_table(
            ("field", "width", "meaning"), [(f"`{x.name}`", x.bits, x.meaning) for x in isa.KV_DESCRIPTOR]
        ),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
