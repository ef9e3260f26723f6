"""What `estimate` and `report` are asked about: an artefact, a checkpoint, or the shape of a model."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from compiler.memory_map import MemoryMap
from compiler.plan import Planned, plan_program
from hw.machine import MACHINES, MachineConfig
from models.config import ModelConfig
from models.shapes import SHAPES

from .artefact_head import open_head
from .errors import UsageError

__all__ = ["CompiledProgram", "add_shape_arguments", "of_file", "of_shape"]


@dataclass(frozen=True)
class CompiledProgram:
    """A program for a machine (24 bytes an instruction), its model's configuration and its memory map."""

    config: ModelConfig
    machine: MachineConfig
    program: bytes
    memory: MemoryMap


def add_shape_arguments(parser: argparse.ArgumentParser) -> None:
    """--shape, --layers."""
    shape = parser.add_argument_group(
        "shape", "In place of a file: the sizes of a published model, of which no weight is drawn."
    )
    shape.add_argument("--shape", choices=sorted(SHAPES), help="which")
    shape.add_argument("--layers", type=int, metavar="N", help="its first N layers (default: all)")


def of_shape(args: argparse.Namespace, file: Path | None, what: str) -> CompiledProgram | None:
    """The program of --shape for --machine, or None where ``file``, a ``what``, is named.

    UsageError unless it is one of the two.
    """
    if args.shape is None:
        if file is None:
            raise UsageError(f"wanted {what} or --shape, found neither; name one")
        if args.layers is not None:
            raise UsageError("--layers: wanted --shape with it, found a file; leave it out")
        return None
    if file is not None:
        raise UsageError(f"--shape: wanted no {what} beside it, found {file}; name one of them")
    return _planned(SHAPES[args.shape].outline(args.layers), MACHINES[args.machine or "ci"])


def of_file(path: Path, machine: str | None) -> CompiledProgram:
    """The program in an artefact, made for ``machine`` if given, or that of a checkpoint for it (or ci)."""
    path = path / "model.safetensors" if path.is_dir() else path
    try:
        with path.open("rb") as file:
            archive = file.read(2) == b"PK"
    except OSError as error:
        raise UsageError(
            f"cannot read checkpoint or artefact {path}: {error.strerror}; check the path"
        ) from error
    if archive:
        opened = open_head(path, MACHINES[machine] if machine else None)
        return CompiledProgram(opened.config, opened.head.machine, opened.head.program, opened.memory)
    from compiler.frontends import load_checkpoint  # weights need torch, which takes seconds to load

    return _planned(load_checkpoint(path), MACHINES[machine or "ci"])


def _planned(model: Planned, machine: MachineConfig) -> CompiledProgram:
    plan = plan_program(model, machine)
    return CompiledProgram(model.config, machine, plan.program, plan.memory)
