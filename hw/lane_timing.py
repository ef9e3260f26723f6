"""How many cycles the floating-point units of a lane of the vector unit take."""

from dataclasses import dataclass

from .fp32_add import Fp32Add
from .fp32_from_int import Fp32FromInt
from .fp32_mul import Fp32Mul
from .fp32_to_int import Fp32ToInt
from .isa import Function
from .sigmoid import Sigmoid

__all__ = ["LaneTiming"]


@dataclass(frozen=True)
class LaneTiming:
    """Cycles between the points of `hw.vector_lane.VectorLane`, whose docstring says what these are.

    multiply: cycles of a multiplication (`hw.machine.MachineConfig.multiply_cycles`), a sigmoid's too.
    """

    multiply: int = Fp32Mul.LEAST

    @property
    def convert(self) -> int:
        """From a word that is an integer to the operand of its scale."""
        return Fp32FromInt.LATENCY

    @property
    def scale(self) -> int:
        """A multiplication by a scale."""
        return self.multiply

    @property
    def gain(self) -> int:
        """From ``z`` to ``y``."""
        return self.multiply

    @property
    def quantise(self) -> int:
        """From ``x`` to ``q``."""
        return self.multiply + Fp32ToInt.LATENCY

    @property
    def sigmoid(self) -> int:
        """From ``x`` to the factor that its sigmoid is."""
        return Fp32ToInt.LATENCY + self.look_up + Fp32FromInt.LATENCY

    @property
    def look_up(self) -> int:
        """From a rounded ``x`` to its sigmoid."""
        return Sigmoid.LEAST + self.multiply - Fp32Mul.LEAST

    @property
    def function(self) -> dict[Function, int]:
        """From ``x`` to ``z``."""
        gated = self.sigmoid + 2 * self.multiply
        return {
            Function.COPY: 0,
            Function.ADD: Fp32Add.LATENCY,
            Function.MULTIPLY: self.multiply,
            Function.ROPE: self.multiply + Fp32Add.LATENCY,
            Function.SILU_MULTIPLY: gated,
            Function.RELU2_MULTIPLY: gated,
        }

    @property
    def second(self) -> dict[Function, int]:
        """From ``x`` to ``b``, for the functions that have that operand."""
        gated = self.sigmoid + self.multiply
        return {
            Function.ADD: 0,
            Function.MULTIPLY: 0,
            Function.SILU_MULTIPLY: gated,
            Function.RELU2_MULTIPLY: gated,
        }
