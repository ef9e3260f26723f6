"""The graph's checker: every value defined once and before its uses, every type as the operation wants it."""

from collections.abc import Callable
from dataclasses import dataclass

from models.config import ModelConfig

from .graph import BLOCKS, Graph, Integers, Node, Statistics, Type

#: Names a `Statistics.site` may have: inputs of linears, and the heads' vectors.
SITES = ("attention", "o", "mlp", "down", "final", "query", "key", "value")
GAINS = (None, "attention", "o", "mlp", "down", "next", "final")
#: Functions of a linear with a second operand, and all.
_TWO = ("add", "silu_multiply", "relu2_multiply")
_FUNCTIONS = (None, "rope", *_TWO)


class GraphError(AssertionError):
    """A pass of the compiler produced a graph that means nothing: a bug in the compiler."""


@dataclass(frozen=True)
class Operation:
    """What an operation takes and gives.

    inputs: the number of inputs.
    result: its output type, from configuration, node and input types; ValueError where these are wrong.
    """

    inputs: tuple[int, ...]
    result: Callable[[ModelConfig, Node, list[Type]], Type]


def _same(config: ModelConfig, node: Node, inputs: list[Type]) -> Type:
    if any(type_ != inputs[0] or type_.dtype != "float" for type_ in inputs):
        raise ValueError(f"wanted floats of one shape, found {inputs}")
    return inputs[0]


def _norm_quantise(config: ModelConfig, node: Node, inputs: list[Type]) -> Type:
    if node.attributes["site"] not in SITES[:5] or node.attributes["gain"] not in GAINS:
        raise ValueError(f"unknown site or gain: {node.attributes}")
    if node.attributes["bits"] not in (8, 12):
        raise ValueError(f"wanted codes of 8 or 12 bits: {node.attributes}")
    return Type(f"int{node.attributes['bits']}", _same(config, node, inputs).shape, "token")


def _codes(k: int, integers: Integers | None, found: Type) -> None:
    """``found`` is what a matrix of ``k`` columns takes: mantissas too, where it is of integers."""
    dtypes = ("int8",) if integers is None else ("int8", "int12")
    if found not in [Type(dtype, (k,), "token") for dtype in dtypes]:
        raise ValueError(f"wanted {k} {' or '.join(dtypes)} codes, found {found}")


def _quantise_heads(config: ModelConfig, node: Node, inputs: list[Type]) -> Type:
    (n,) = _same(config, node, inputs).shape
    if n % config.head_size:
        raise ValueError(f"{n} elements are not whole heads of {config.head_size}")
    dtype = "int16" if node.attributes["target"] == "query" else "int8"
    return Type(dtype, (n // config.head_size, config.head_size), "head")


def _linear(config: ModelConfig, node: Node, inputs: list[Type]) -> Type:
    d, h, kv = config.dim, config.hidden, config.kv_dim
    rows, k = {
        "q": (d, d),
        "k": (kv, d),
        "v": (kv, d),
        "o": (d, d),
        "gate": (h, d),
        "up": (h, d),
        "down": (d, h),
    }[node.attributes["matrix"]]
    function, out = node.attributes.get("function"), Type("float", (rows,))
    _codes(k, node.attributes.get("integers"), inputs[0])
    if function not in _FUNCTIONS or inputs[1:] != [out] * (function in _TWO):
        raise ValueError(f"function {function!r} of {inputs[1:]}")
    return out


def _attention(config: ModelConfig, node: Node, inputs: list[Type]) -> Type:
    query = Type("int16", (config.heads, config.head_size), "head")
    key = Type("int8", (config.kv_heads, config.head_size), "head")
    if inputs != [query, key, key]:
        raise ValueError(f"wanted query, key, value by head, found {inputs}")
    return Type("float", (config.dim,))


def _head(config: ModelConfig, node: Node, inputs: list[Type]) -> Type:
    _codes(config.dim, node.attributes["integers"], inputs[0])
    return Type("float", (config.vocab,))


OPERATIONS = {
    "embed": Operation((0,), lambda config, node, inputs: Type("float", (config.dim,))),
    "copy": Operation((1,), _same),
    "norm_quantise": Operation((1,), _norm_quantise),
    "linear": Operation((1, 2), _linear),
    "rope": Operation((1,), _same),
    "quantise_heads": Operation((1,), _quantise_heads),
    "attention": Operation((3,), _attention),
    "add": Operation((2,), _same),
    "silu_multiply": Operation((2,), _same),
    "relu2_multiply": Operation((2,), _same),
    "head": Operation((1,), _head),
    "argmax": Operation((1,), lambda config, node, inputs: Type("token", ())),
}


def check(graph: Graph, statistics: bool = False) -> Graph:
    """Return the graph, or raise GraphError naming block and node.

    statistics: whether every quantised value must have been gathered by its writer (after the pass).
    """
    types: dict[str, Type] = {}
    gathered: dict[str, Statistics | None] = {}
    before, after = graph.carried
    for block in BLOCKS:
        for node in graph.blocks[block]:
            where = f"{block}: {node.op} -> {node.output}"
            operation = OPERATIONS.get(node.op)
            if operation is None:
                raise GraphError(f"{where}: no such operation")
            if missing := [name for name in node.inputs if name not in types]:
                raise GraphError(f"{where}: uses {missing} before they are defined")
            if node.output in types:
                raise GraphError(f"{where}: {node.output} is defined twice")
            if len(node.inputs) not in operation.inputs:
                raise GraphError(f"{where}: wanted {operation.inputs} inputs, found {len(node.inputs)}")
            try:
                result = operation.result(graph.config, node, [types[name] for name in node.inputs])
            except (ValueError, KeyError) as error:
                raise GraphError(f"{where}: {error}") from error
            if result != node.type:
                raise GraphError(f"{where}: is declared {node.type} and yields {result}")
            if statistics and node.op in ("norm_quantise", "quantise_heads"):
                _gathered(graph, node, gathered[node.inputs[0]], where)
            if node.statistics and (node.statistics.site not in SITES or node.statistics.gain not in GAINS):
                raise GraphError(f"{where}: unknown {node.statistics}")
            types[node.output], gathered[node.output] = node.type, node.statistics
    for name in (before, after):
        if name not in types:
            raise GraphError(f"carried value {name} is not defined")
    if types[before] != types[after]:
        raise GraphError(f"carried values differ: {types[before]} and {types[after]}")
    first, later = gathered[before], gathered[after]
    if (
        statistics
        and first
        and later
        and (first.segment, bool(first.gain)) != (later.segment, bool(later.gain))
    ):
        raise GraphError(f"carried values gather differently: {first} and {later}")
    return graph


def _gathered(graph: Graph, node: Node, found: Statistics | None, where: str) -> None:
    """The writer gathered what `node` will apply."""
    gain = node.attributes.get("gain")
    segment = graph.config.head_size if node.op == "quantise_heads" else 0
    if found is None:
        raise GraphError(f"{where}: nobody gathered the statistics of {node.inputs[0]}")
    if found.segment != segment or bool(found.gain) != bool(gain):
        raise GraphError(f"{where}: wanted statistics by {segment} with gain {gain}, found {found}")
