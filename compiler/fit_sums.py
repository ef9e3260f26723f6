"""Do the sums of a model's integer matrices fit a machine's accumulators."""

from hw.machine import MachineConfig
from models import numerics
from models.integer import IntegerLinear
from models.quantised import MATRICES, SITE_MATRICES, QuantisedModel

from .fit import Limits
from .fit_integers import fit_forms

__all__ = ["fit_integers", "fit_sums"]


def fit_integers(model: QuantisedModel, machine: MachineConfig) -> None:
    """`fit_forms` and `fit_sums`."""
    fit_forms(model, machine)
    fit_sums(model, machine)


def fit_sums(model: QuantisedModel, machine: MachineConfig) -> None:
    """CompileError where a matrix of integers may give sums that are too wide; reads all of their weights."""
    need = Limits(model.config, machine)
    bits = {name: model.activations[site] for site, names in SITE_MATRICES.items() for name in names}
    for index, layer in enumerate(model.layers):
        for name in MATRICES:
            if model.form(name) is not None:
                _width(need, f"layer {index}, {name}", getattr(layer, name), bits[name])
    _width(need, "head", model.head, bits["head"])


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
