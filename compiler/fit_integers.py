"""Do the integer matrices of a model fit a machine: activations, groups, and the width of their sums."""

from typing import Any

from hw.machine import MachineConfig
from models import numerics
from models.integer import IntegerLinear
from models.quantised import MATRICES, SITE_MATRICES, QuantisedModel

from .fit import Limits


def fit_integers(model: QuantisedModel, machine: MachineConfig) -> None:
    """`fit_forms` and `fit_sums`."""
    fit_forms(model, machine)
    fit_sums(model, machine)


def fit_forms(model: QuantisedModel, machine: MachineConfig) -> None:
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


def fit_sums(model: QuantisedModel, machine: MachineConfig) -> None:
    """CompileError where a matrix of integers may give sums that are too wide; reads all of their weights."""
    need = Limits(model.config, machine)
    bits = {name: model.activations[site] for site, names in SITE_MATRICES.items() for name in names}
    for index, layer in enumerate(model.layers):
        for name in MATRICES:
            if model.form(name) is not None:
                _width(need, f"layer {index}, {name}", getattr(layer, name), bits[name])
    _width(need, "head", model.head, bits["head"])


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


def _width(need: Limits, part: str, matrix: object, activation_bits: int) -> None:
    """No sum leaves `numerics.WIDE_SUM_BITS`, whatever the activations."""
    if not isinstance(matrix, IntegerLinear):
        return
    bits = matrix.largest_sum(activation_bits).bit_length() + 1
    if bits > numerics.WIDE_SUM_BITS:
        remedy = "scales and minima of fewer bits" if matrix.group else "a smaller width"
        need.refuse(
            part,
            f"wanted sums within {numerics.WIDE_SUM_BITS} bits (instruction set), "
            f"found ones that may need {bits}",
            f"{remedy}{' or 8-bit activations' if activation_bits > 8 else ''} would fit",
        )
