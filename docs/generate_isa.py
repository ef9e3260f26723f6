"""Write ``docs/isa.md`` from the instruction table: ``python docs/generate_isa.py``."""

import dataclasses
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from compiler import assembler  # noqa: E402
from compiler.tape_integer import integer_bytes  # noqa: E402
from hw import isa  # noqa: E402
from hw.integer_shape import IntegerShape  # noqa: E402
from hw.machine import CI  # noqa: E402
from models.integer import IntegerLinear  # noqa: E402
from models.numerics import gray_trits  # noqa: E402

PAGE = ROOT / "docs" / "isa.md"
EXAMPLE = ROOT / "docs" / "example.asm"

#: Memories on chip: name, element, one for each token of the tile, elements (or a size of the machine).
MEMORIES = (
    ("ACT", "binary32", True, "activation_words"),
    ("Q", "int8, or int12 (`activation_bits`)", True, "quantised_words"),
    ("ACC", "int32 (MATMUL), binary32 (LINEAR)", True, "accumulator_rows"),
    ("STAT", "{sum of squares, absmax}", True, isa.STATISTICS),
    ("queries", "int16, and s_q of each head", True, "max_query"),
    ("staged K row, V row", "byte", True, "stage_bytes"),
    ("scores", "int32, 16 fraction bits", True, "score_words"),
    ("CONST", "binary32", False, "constant_words"),
    ("SCALAR", "binary32", False, isa.SCALARS),
)
PREDICATES = (
    (0, "", "always 1"),
    (isa.EMIT_LOGITS, "`EMIT_LOGITS`", "logits are wanted in memory; convention of the compiler"),
    (isa.MANY_TILES, "`MANY_TILES`", "the chunk has more than one tile; set by the machine"),
    (isa.WANT_HEAD, "`WANT_HEAD`", "the head of the last tile is wanted; convention of the compiler"),
)
RUN = """\
1. PROGRAM_ADDRESS = 8 i, then PROGRAM_DATA six times, for each instruction i; MEMORY_BASE. Once.
2. ENTRY = 0, then ENTRY_TOKEN, ENTRY_POSITION, ENTRY_BASE for each token of the chunk.
3. TOKENS, TILE, STEPS, BATCH, the STOP registers, [PREDICATES](#predicates).
4. CONTROL bit 0, the doorbell. While STATUS bit 0 is 1, leave the registers of steps 1 to 3 as they are.
5. The interrupt (STATUS bit 1): CONTROL bit 1 acknowledges it. STATUS bit 2 and ERROR say what went wrong,
   GENERATED, OUTPUT and OUTPUT_TOKEN what was found, TOP the logits behind it.

What is read at an address appears one cycle after it. Behind ENTRY, OUTPUT and TOP stand memories: after a
write of one of them, read twice.
"""
EXAMPLE_NOTES = """\
- The tape has no addresses. Its bytes come in the order of the FETCHes; MAP, MATMUL, LINEAR, HEAD and ATTEND
  take theirs in the order of the program. Both orders must agree, and at END nothing may be left.
- FETCHes run ahead of the rest. In the loop, both stand before the instructions that take their bytes.
- `tiled=1` on what acts for each token. The FETCH of W is not tiled: W crosses the bus once for a tile, and
  the MATMUL multiplies each weight with an activation of every token.
- The second tile has one token, entry 2. The instructions are the same.
- The waits are those that `compiler.hazards.wait_bounds` finds. `wait_vector=1` of MATMUL: of the vector
  instructions before it all but one are finished, so Q is written while NORM may still run. The vector unit
  has one instruction at a time, so QUANTISE and MAP wait for nothing there. ATTEND needs no wait for the tape
  behind instructions of the matmul unit; behind a MAP from the tape it does.
"""


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


def _sentences(text: str) -> list[str]:
    """A bullet for each sentence, if there are several."""
    found = re.split(r"(?<=[^.]\.) (?=\S)", text)
    return [text] if len(found) == 1 else [f"- {sentence}" for sentence in found]


def _memories() -> list[str]:
    """The table of memories on chip."""
    rows = []
    for name, element, each, size in MEMORIES:
        count = f"`{size}`: {getattr(CI, size)}" if isinstance(size, str) else size
        rows.append((name, element, "token" if each else "machine", count))
    return _table(("memory", "element", "one for each", "elements (machine `ci`)"), rows)


def _trits() -> list[str]:
    """How five weights make a byte."""
    two = ", ".join(f"({a}, {b})" for a, b in gray_trits(2))
    return [
        "A byte of ternary weights holds five trits: g3(first three) + 27 g2(last two). g2 and g3 are",
        "places, from 0, in reflected Gray order, the first trit changing fastest; of two trits:",
        f"{two}.",
        "`models.numerics.pack_trits` packs rows of any k; trits past k are 0.",
    ]


def _integers() -> list[str]:
    """How a matrix of integers lies on the tape: one of two rows, written by `compiler.tape_integer`."""
    rows, k, group, lanes = 2, 6, 4, 4
    codes = torch.tensor([[i + 16 * r for i in range(k)] for r in (1, 2)], dtype=torch.int8)
    scales, minima = (
        torch.tensor([[0x1100, 0x1101], [0x2200, 0x2201]], dtype=torch.int16) + add for add in (0, 0x40)
    )
    matrix = IntegerLinear(codes, 8, torch.ones(rows), group, scales, minima)
    machine = dataclasses.replace(CI, head_lanes=lanes)
    shape = IntegerShape.of(machine, {"rows": rows, "k": k, "group": group, "minima": 1})
    data = [f"{byte:02X}" for byte in integer_bytes(matrix, machine)]
    found, at = [], 0

    def line(size: int, what: str) -> None:
        nonlocal at
        found.append(f"{at:4}  {' '.join(data[at : at + size]):23}  {what}")
        at += size

    for start in range(0, k, group):
        for i in range(start, min(start + group, k), shape.unit_codes):
            line(lanes, f"unit: w[0, {i}], w[1, {i}], w[0, {i + 1}], w[1, {i + 1}]")
        line(4, f"scales of group {start // group}: row 0, row 1")
        line(4, f"minima of group {start // group}: row 0, row 1")
    line(8, "row scales: row 0, row 1")
    return [
        f"LINEAR and HEAD take pairs of rows. One of {k} INT8 codes in groups of {group} with minima, where",
        f"`head_lanes` is {lanes} and, in hexadecimal, w[0, i] = 10 + i, w[1, i] = 20 + i:",
        "",
        "```",
        "byte  data                     what",
        *found,
        "```",
        "",
        "The last unit of a pair is filled up to `head_lanes` bytes, the last pair by a second row that",
        "yields nothing; what the filler holds does not count. `hw.integer_shape` counts units, groups,",
        "bytes and cycles.",
    ]


def page() -> str:
    """The whole reference page."""
    lines = [
        "# Instruction set",
        "",
        "Generated from `hw/isa.py` by `docs/generate_isa.py`; a test checks that it is current.",
        "",
        *(isa.__doc__ or "").strip().split("\n\n", 2)[2].splitlines(),
        "",
        "fl(..) rounds to binary32 (`models/numerics.py`), rne to the nearest integer, ties to even.",
        "",
        "## Instructions",
        "",
        *_table(
            ("instruction", "opcode", "unit"),
            [(f"[{row.name}](#{row.name.lower()})", row.opcode, row.unit.name) for row in isa.INSTRUCTIONS],
        ),
        "",
        "## Memories",
        "",
        "Beside these: the tape, a queue of bytes, and program memory "
        f"(`program_words`: {CI.program_words} instructions).",
        "",
        *_memories(),
        "",
        *_trits(),
        "",
        *_integers(),
        "",
        "## Program text",
        "",
        "`trine asm` makes a program of text, `trine disasm` text of a program.",
        "",
        *(assembler.__doc__ or "").strip().split("\n\n", 1)[1].splitlines(),
        "",
        "## Example",
        "",
        "`docs/example.asm`; a test runs it on the interpreter and compares the memory after it.",
        "",
        "```",
        *EXAMPLE.read_text().splitlines(),
        "```",
        "",
        *EXAMPLE_NOTES.splitlines(),
        "",
        "## Running a program",
        "",
        "What a host writes ([registers](#registers)):",
        "",
        *RUN.splitlines(),
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
        lines += ["", f"## {row.name}", "", f"Opcode {row.opcode}, unit {row.unit.name}.", ""]
        lines += _sentences(row.meaning)
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
        "## Predicates",
        "",
        "Bits of PREDICATES; an instruction names one. The names are those of `hw/isa.py`.",
        "",
        *_table(("bit", "name", "meaning"), PREDICATES),
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
