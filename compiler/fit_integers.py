"""Do the integer matrices of a model fit a machine: activations and groups (sums: `compiler.fit_sums`)."""

from typing import Any, Protocol

from hw.machine import MachineConfig
from models.config import SITE_MATRICES, ModelConfig

from .fit import Limits

__all__ = ["Planned", "fit_forms"]


class Planned(Protocol):
    """What planning asks of a model: a `models.quantised.QuantisedModel`, or a `models.shapes.Outline`."""

    @property
    def config(self) -> ModelConfig: ...
    @property
    def grids(self) -> dict[str, int]: ...
    @property
    def activations(self) -> dict[str, int]: ...
    def form(self, name: str) -> dict[str, Any] | None: ...


def fit_forms(model: Planned, machine: MachineConfig) -> None:
    """CompileError where activations are too wide, or the groups of a matrix are not whole units."""
    need = Limits(model.config, machine)
    for site, names in SITE_MATRICES.items():
        bits = model.activations[site]
        if bits > machine.activation_bits:
            need.refuse(
                f"input of {', '.join(names)}",
                f"wanted activations of at most {machine.activation_bits} bits (activation_bits), "
                f"found {bits}",
                f"a machine with activation_bits of {bits} would take it, or 8-bit activations",
            )
        for name in names:
            _groups(need, machine, name, model.form(name))


def _groups(need: Limits, machine: MachineConfig, name: str, form: dict[str, Any] | None) -> None:
    """A group is a whole number of units, and its size can be encoded."""
    if form is None or not form["group"]:
        return
    unit, group = machine.unit_codes(form["bits"]), form["group"]
    if group % unit:
        need.refuse(
            f"every layer, {name}" if name != "head" else name,
            f"wanted groups of a multiple of {unit} weights (head_lanes of {machine.head_lanes} bytes hold "
            f"so many {form['bits']}-bit codes of a row), found {group}",
            f"choose a machine with head_lanes of {group * form['bits'] // 4} or a divisor of it, or "
            f"quantise in groups of {unit}",
        )
    need.encoded(name, "weights of a group", group, 2**16 - 1)
