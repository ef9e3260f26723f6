"""What front ends refuse."""

from models.errors import CheckpointError
from models.integer_quantise import Recipe

__all__ = ["CheckpointError", "refuse_weights"]


def refuse_weights(where: object, recipe: Recipe) -> None:
    """CheckpointError where ``recipe`` asks a ternary checkpoint for weights of another width."""
    if recipe.weights is not None:
        raise CheckpointError(
            where,
            f"float weights, to quantise them to int{recipe.weights}",
            "ternary ones, which keep the codes that the checkpoint gives them",
            "leave --weights out (--head int4 works), or take a float checkpoint",
        )
