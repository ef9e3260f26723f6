"""Generated pages and pictures are current, the example runs, and pointers lead somewhere."""

import argparse
import importlib
import re
import shlex
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import torch

from compiler.assembler import INSTRUCTION_BYTES, assemble
from compiler.hazards import wait_bounds
from docs import draw_machine, machine_places
from docs.generate_cli import TARGET, page
from hw import isa
from hw.machine import CI
from models import numerics
from sim.entries import Entry
from sim.interpreter import Interpreter
from tests.conftest import ROOT


def test_cli_reference_is_current():
    assert TARGET.read_text() == page(), "run: python -m docs.generate_cli"


def test_picture_is_what_the_design_gives():
    drawn = draw_machine.picture()
    ElementTree.fromstring(drawn)
    assert draw_machine.TARGET.read_text() == drawn, "run: python -m docs.draw_machine"


@pytest.mark.parametrize("table", ["BOXES", "ROUTES", "WIRES"])
def test_picture_refuses_what_the_design_does_not_have(table: str, monkeypatch: pytest.MonkeyPatch):
    places = getattr(machine_places, table)
    monkeypatch.setattr(draw_machine, table, {**places, ("a", "b"): next(iter(places.values()))})
    with pytest.raises(draw_machine.DesignError, match="not in the design"):
        draw_machine.picture()
    monkeypatch.setattr(draw_machine, table, dict(list(places.items())[1:]))
    with pytest.raises(draw_machine.DesignError, match="without a place"):
        draw_machine.picture()


def _bytes(kind: str, values: str) -> np.ndarray:
    """Memory contents as docs/example.asm states them: floats, or rows of trits."""
    if kind == "float32":
        return np.array(values.split(), np.float32).view(np.uint8)
    trits = [["-0+".index(trit) - 1 for trit in row.split()] for row in values.split("/")]
    return numerics.pack_trits(torch.tensor(trits)).numpy().astype(np.uint8).reshape(-1)


def test_example_gives_the_stated_result(root: Path):
    text = (root / "docs" / "example.asm").read_text()
    stated = re.findall(r"^# (before|after) (\w+) (\w+) +(.*)$", text, re.MULTILINE)
    tokens = re.search(r"^# tokens (.*)$", text, re.MULTILINE)
    tile = re.search(r"^# tile (.*)$", text, re.MULTILINE)
    assert tokens and tile and {when for when, *_ in stated} == {"before", "after"}

    memory = np.zeros(0x200, np.uint8)
    for when, address, kind, values in stated:
        if when == "before":
            data = _bytes(kind, values)
            memory[int(address, 0) :][: len(data)] = data
    interpreter = Interpreter(CI, assemble(text), memory)
    interpreter.run([Entry(int(token), 0) for token in tokens[1].split()], tile=int(tile[1]))
    for when, address, kind, values in stated:
        if when == "after":
            data = _bytes(kind, values)
            assert np.array_equal(memory[int(address, 0) :][: len(data)], data), f"row {address}"


def test_example_waits_for_what_it_must(root: Path):
    program = assemble((root / "docs" / "example.asm").read_text())
    words = [program[at : at + INSTRUCTION_BYTES] for at in range(0, len(program), INSTRUCTION_BYTES)]
    rows = [isa.decode(int.from_bytes(word, "little")) for word in words]
    for (name, fields), bounds in zip(rows, wait_bounds(rows, CI.tile), strict=True):
        assert {wait: fields[wait] for wait in bounds} == bounds, name


def _commands() -> list[str]:
    """What the documents tell a reader to run."""
    pages = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    text = "\n".join(page.read_text() for page in pages)
    found = re.findall(
        r"`python -m ((?:bench|models)\.[^`]*)`|^ {4}python -m (bench\..*)$", text, re.MULTILINE
    )
    return sorted({" ".join((a or b).split()) for a, b in found})


@pytest.mark.parametrize("command", _commands())
def test_commands_in_the_documentation_are_accepted(command: str, monkeypatch: pytest.MonkeyPatch):
    """Up to where their work begins; paths in ../shared are looked at by no parser."""

    class ParsedError(Exception):
        pass

    parse = argparse.ArgumentParser.parse_args

    def parse_and_leave(self: argparse.ArgumentParser) -> None:
        parse(self)
        raise ParsedError

    module, *arguments = shlex.split(command)
    monkeypatch.setattr("sys.argv", [module, *arguments])
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_leave)
    found = importlib.import_module(module)
    if hasattr(found, "__path__"):  # a package that is run
        found = importlib.import_module(f"{module}.__main__")
    with pytest.raises(ParsedError):
        found.main()


def test_links_in_the_documentation_exist(root: Path):
    for document in (root / "README.md", root / "CONTRIBUTING.md", *(root / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} points to {target}"
