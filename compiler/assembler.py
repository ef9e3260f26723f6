"""Program text: one instruction a line, both ways.

``MAP source=ACCUMULATOR n=128 d=0 wait_matmul=0  # comment``: the name, then fields in any order as
``field=value``; values are integers (decimal, 0x, negative where signed) or names of the field's enumeration.
Fields left out are 0, waits left out are 3 (no waiting). The instruction table translates both ways.
"""

from collections.abc import Iterable

from hw import isa
from hw.isa import BY_NAME, HEADER, INSTRUCTION_BITS, NO_WAIT, Field

INSTRUCTION_BYTES = INSTRUCTION_BITS // 8


class AssemblyError(ValueError):
    """A line that is no instruction, with its number; or bytes that are none."""


def assemble(text: str) -> bytes:
    """The program, 24 bytes an instruction. AssemblyError names the line."""
    words = []
    for number, line in enumerate(text.splitlines(), 1):
        parts = line.partition("#")[0].split()
        if not parts:
            continue
        try:
            words.append(isa.encode(parts[0], **_values(parts[0], parts[1:])))
        except ValueError as error:
            raise AssemblyError(f"line {number}: {error}") from error
    return b"".join(word.to_bytes(INSTRUCTION_BYTES, "little") for word in words)


def disassemble(program: bytes) -> str:
    """Text that `assemble` turns into the same bytes. AssemblyError where they are no program."""
    if len(program) % INSTRUCTION_BYTES:
        raise AssemblyError(f"program: wanted a multiple of {INSTRUCTION_BYTES} bytes, found {len(program)}")
    lines, depth = [], 0
    for at in range(0, len(program), INSTRUCTION_BYTES):
        word = int.from_bytes(program[at : at + INSTRUCTION_BYTES], "little")
        try:
            name, values = isa.decode(word)
            text = line(name, values)
            if isa.encode(name, **values) != word:
                raise ValueError("bits outside the fields are set")
        except ValueError as error:
            raise AssemblyError(f"instruction {at // INSTRUCTION_BYTES}: {error}") from error
        depth -= name == "NEXT"
        lines.append("  " * max(depth, 0) + text)
        depth += name == "LOOP"
    return "".join(f"{text}\n" for text in lines)


def line(name: str, values: dict[str, int]) -> str:
    """One instruction as text: body fields in the table's order, then header fields, defaults left out."""
    items = [*BY_NAME[name].fields, *HEADER[1:]]
    shown = [
        f"{item.name}={_shown(item, values[item.name])}"
        for item in items
        if values.get(item.name, _default(item)) != _default(item)
    ]
    return " ".join((name, *shown))


def _values(name: str, parts: Iterable[str]) -> dict[str, int]:
    """Field values of one line."""
    if name not in BY_NAME:
        raise ValueError(f"no instruction {name!r}; there are {', '.join(BY_NAME)}")
    fields = {item.name: item for item in (*HEADER[1:], *BY_NAME[name].fields)}
    values: dict[str, int] = {}
    for part in parts:
        key, equals, text = part.partition("=")
        if not equals or key not in fields:
            raise ValueError(f"wanted field=value, found {part!r}; fields of {name}: {', '.join(fields)}")
        if key in values:
            raise ValueError(f"{key} is given twice")
        values[key] = _number(fields[key], text)
    return values


def _number(item: Field, text: str) -> int:
    """An integer, or a name of the field's enumeration."""
    if item.values is not None and text in item.values.__members__:
        return int(item.values[text])
    try:
        number = int(text, 0)
    except ValueError:
        names = f", or one of {', '.join(item.values.__members__)}" if item.values else ""
        raise ValueError(f"{item.name}: wanted an integer{names}, found {text!r}") from None
    if item.values is not None and number not in [int(value) for value in item.values]:
        raise ValueError(f"{item.name}: {number} is not a {item.values.__name__}")
    return number


def _shown(item: Field, value: int) -> str:
    return item.values(value).name if item.values is not None else str(value)


def _default(item: Field) -> int:
    return NO_WAIT if item.name.startswith("wait_") else 0
