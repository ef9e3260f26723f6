"""A random program as text."""

from collections.abc import Iterator

from compiler.assembler import INSTRUCTION_BYTES, line
from hw import isa
from sim.random_check import RandomCase


def show(case: RandomCase) -> str:
    """Registers and token table as comments, then the program as assembly."""
    registers = {
        "TOKENS": len(case.entries), "TILE": case.tile, "STEPS": case.steps, "BATCH": int(case.batch),
        "STOP": ", ".join(map(str, case.stops)) or "none", "PREDICATES": f"0x{case.predicates:04x}",
        "MEMORY_BASE": case.memory_base,
    }  # fmt: skip
    heads = [", ".join(f"{name} {value}" for name, value in registers.items())]
    heads += ["entry   token  position     base  continues"]
    heads += [
        f"{i:5} {entry.token:7} {entry.position:9} {entry.base:8}  {int(entry.continues)}"
        for i, entry in enumerate(case.entries)
    ]
    return "".join(f"# {text}\n" for text in heads) + "".join(f"{text}\n" for text in _lines(case.program))


def _lines(program: bytes) -> Iterator[str]:
    depth = 0
    for at in range(0, len(program), INSTRUCTION_BYTES):
        word = int.from_bytes(program[at : at + INSTRUCTION_BYTES], "little")
        try:
            name, values = isa.decode(word)
            text = line(name, values)
        except ValueError:  # a random program may hold one that is not in the table
            name, text = "", f"# unknown 0x{word:048x}"
        depth -= name == "NEXT"
        yield f"{'  ' * depth}{text}  # {at // INSTRUCTION_BYTES}"
        depth += name == "LOOP"
