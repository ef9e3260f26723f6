"""Does a model fit a machine, and where does everything lie on chip?

`place` checks every size and gives each tensor its place in the machine's memories. What does not fit is a
`CompileError` that names the layer's part, the reason and the machine field that would have to grow.
"""

from dataclasses import dataclass

from hw.isa import SCALARS, STATISTICS
from hw.machine import MachineConfig
from models.config import ModelConfig

#: Alignment of the first activation of a MATMUL.
Q_ALIGN = 16


class CompileError(ValueError):
    """The model can't run on this machine as it is: where, why, and what would help."""


@dataclass(frozen=True)
class Places:
    """First element of each tensor in the machine's memories.

    activation, accumulator, quantised, constant, scalar, statistics: place by name. A scale s_<site> has a
        scalar for each token of a tile, "rope" a row for each.
    fixed_scalars, layer_scalars: names in tape order, each group loaded by one MAP; None is padding.
    again_scalars: the end of `layer_scalars` that holds the k of q, k and v.
    """

    activation: dict[str, int]
    accumulator: dict[str, int]
    quantised: dict[str, int]
    constant: dict[str, int]
    scalar: dict[str, int]
    statistics: dict[str, int]
    fixed_scalars: tuple[str | None, ...]
    layer_scalars: tuple[str | None, ...]
    again_scalars: tuple[str | None, ...]


def align(value: int, step: int) -> int:
    """The next multiple of `step`."""
    return -(-value // step) * step


def _pack(sizes: dict[str, int], start: int = 0) -> tuple[dict[str, int], int]:
    """Names placed one after another, and the end."""
    places = {}
    for name, size in sizes.items():
        places[name] = start
        start += size
    return places, start


class Limits:
    """Comparisons that name model, machine, part and remedy."""

    def __init__(self, config: ModelConfig, machine: MachineConfig):
        self._model, self._machine = config.name, machine

    def refuse(self, part: str, reason: str, remedy: str) -> None:
        raise CompileError(
            f"model {self._model!r} on machine {self._machine.name!r}: {part}: {reason}; {remedy}"
        )

    def most(self, part: str, what: str, found: int, field: str) -> None:
        """found <= machine.field."""
        limit = getattr(self._machine, field)
        if found > limit:
            self.refuse(
                part,
                f"wanted at most {limit} {what} ({field}), found {found}",
                f"a machine with {field} of {found} or more would take it",
            )

    def multiple(self, part: str, what: str, found: int, field: str) -> None:
        """found % machine.field == 0."""
        step = getattr(self._machine, field)
        if found % step:
            self.refuse(
                part,
                f"wanted a multiple of {step} ({field}) for {what}, found {found}",
                f"choose a machine whose {field} divides it, or pad the model",
            )

    def encoded(self, part: str, what: str, found: int, limit: int) -> None:
        """found <= limit, a limit of the instruction set."""
        if found > limit:
            self.refuse(
                part,
                f"wanted at most {limit} {what} (instruction set), found {found}",
                "no machine of this version takes it",
            )


def place(config: ModelConfig, machine: MachineConfig) -> Places:
    """Places of everything on chip for the machine's tile; CompileError where the model does not fit."""
    c, need = config, Limits(config, machine)
    kv, size, group = c.kv_dim, c.head_size, c.heads // c.kv_heads

    for what, n in (("dim", c.dim), ("hidden", c.hidden), ("kv_heads x head_size", kv), ("head_size", size)):
        need.multiple("every layer", what, n, "lanes")
    need.multiple("every layer, key row", "8 x kv_heads (bytes of scales)", 8 * c.kv_heads, "lanes")
    need.encoded("every layer", "elements of a vector", max(c.dim, c.hidden), 2**16 - 1)
    need.encoded("every layer, attention", "elements of a head", size, 2**10 - 1)
    need.encoded("every layer, attention", "K/V heads", c.kv_heads, 2**8 - 1)
    need.encoded("head", "token ids", c.vocab, 2**20 - 1)
    need.encoded("loop", "layers", c.layers, 2**16 - 1)
    need.most("every layer, attention", "query heads that share a K/V head", group, "max_group")
    need.most("every layer, attention", "heads", c.heads, "max_heads")
    filled = c.heads * align(size, machine.attention_bytes)
    what = f"query elements ({c.heads} heads of {size}, each filled up to whole attention_bytes)"
    need.most("every layer, attention", what, filled, "max_query")
    need.most("every layer, attention", "tokens of context", c.context, "max_context")
    need.most(
        "every layer, attention",
        f"scores ({c.heads} heads x {c.context} tokens)",
        c.heads * c.context,
        "score_words",
    )
    need.most("every layer, key row", "bytes of staged K with scales", 8 * c.kv_heads + kv, "stage_bytes")

    rows, end = _pack({"q": c.dim, "k": kv, "v": kv})
    pair, pair_end = _pack({"up": c.hidden, "gate": c.hidden})
    need.most("every layer, q, k and v together", "partial sums", end, "accumulator_rows")
    need.most("every layer, up and gate together", "partial sums", pair_end, "accumulator_rows")
    accumulator = {**rows, **pair, "o": 0, "down": 0}

    # Each linear waits for the one before it, so two buffers in turn are as good as four.
    other = align(c.dim, Q_ALIGN)
    if other + max(c.dim, c.hidden) > machine.quantised_words:
        other = 0
    need.most("every layer", "quantised activations", other + max(c.dim, c.hidden), "quantised_words")
    quantised = {"attention": 0, "o": other, "mlp": 0, "down": other, "final": 0}

    attention, first = _pack({"q": c.dim, "k": kv, "v": kv, "attended": c.dim}, c.dim)
    # A MAP may write where it reads, element for element: h over up.
    mlp, second = _pack({"up": c.hidden}, c.dim)
    need.most("every layer", "activations", max(first, second), "activation_words")
    activation = {"x": 0, **attention, **mlp, "h": mlp["up"]}

    constant, end = _pack(
        {**c.gains(), **({} if c.block_gain else {"final": c.dim}), "rope": machine.tile * size}
    )
    if c.block_gain:
        constant |= {"next": constant["attention"], "final": constant["attention"]}
    need.most("every layer, gains and the RoPE rows of a tile", "constants", end, "constant_words")

    statistics, end = _pack(
        {
            "attention": 1,
            "mlp": 1,
            "o": 1,
            "down": 1,
            "query": c.heads,
            "key": c.kv_heads,
            "value": c.kv_heads,
        }
    )
    need.encoded("every layer, attention", "statistics slots", end, STATISTICS)
    statistics["final"] = statistics["attention"]

    fixed = _padded(
        ("c_attention", "c_o", "c_mlp", "c_down", "c_final", "eps", "eps_final", "query"), machine
    )
    layer = _padded(("k_o", "k_up", "k_gate", "k_down", "k_q", "k_k", "k_v"), machine)
    results = ("s_attention", "s_o", "s_mlp", "s_down", "s_final")
    scalar = {name: i for i, name in enumerate((*fixed, *layer)) if name}
    scales, end = _pack(dict.fromkeys(results, machine.tile), len(fixed) + len(layer))
    need.encoded("constants and scales of a tile", "scalars", end, SCALARS)
    again = layer[layer.index("k_q") // machine.lanes * machine.lanes :]
    return Places(
        activation, accumulator, quantised, constant, scalar | scales, statistics, fixed, layer, again
    )


def _padded(names: tuple[str, ...], machine: MachineConfig) -> tuple[str | None, ...]:
    return (*names, *[None] * (-len(names) % machine.lanes))
