"""The graph of one decode token: typed values, a handful of operations, one loop over layers.

`build` writes a model's meaning down; `attach_statistics` and `fuse` rewrite it into the shape of the machine
(writers gather the statistics that readers need; element-wise steps ride on the linear that feeds them).
`compiler.check` verifies the graph after each.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from models.config import ModelConfig

#: Blocks of a graph in program order; `body` runs once per layer.
BLOCKS = ("prologue", "body", "epilogue")


@dataclass(frozen=True)
class Type:
    """What a value is.

    dtype: "float" (binary32), "int8", "int12" (mantissas), "int16" (codes), "token".
    shape: elements; codes with a scale per head are [heads, head_size].
    scale: "none", "token" (one for the vector) or "head".
    """

    dtype: str
    shape: tuple[int, ...]
    scale: str = "none"


@dataclass(frozen=True)
class Integers:
    """How a matrix of integers is written: bits of a code, weights that share a scale (0: none), minima."""

    bits: int = 8
    group: int = 0
    minima: bool = False


@dataclass(frozen=True)
class Statistics:
    """What the writer of a value gathers: squares on the grid of `site`, absmax after `gain`, by segment."""

    site: str
    segment: int = 0
    gain: str | None = None


@dataclass(frozen=True)
class Node:
    """One operation; it defines the value `output`.

    op: a key of `compiler.check.OPERATIONS`.
    inputs: names of values.
    attributes: what the operation needs to know at compile time.
    statistics: gathered while the output is written.
    """

    op: str
    inputs: tuple[str, ...]
    output: str
    type: Type
    attributes: dict[str, Any] = field(default_factory=dict)
    statistics: Statistics | None = None


@dataclass(frozen=True)
class Graph:
    """Nodes by block. `carried` (input, output) are the residual stream before and after one layer."""

    config: ModelConfig
    blocks: dict[str, tuple[Node, ...]]
    carried: tuple[str, str]

    def with_blocks(self, **blocks: list[Node]) -> "Graph":
        """The same graph with some blocks replaced."""
        return replace(self, blocks={**self.blocks, **{name: tuple(nodes) for name, nodes in blocks.items()}})


def build(
    config: ModelConfig,
    integers: Mapping[str, Integers] | None = None,
    activations: Mapping[str, int] | None = None,
) -> Graph:
    """The graph of a model as its definition reads (`models.golden`).

    integers: by matrix, "head" too, those that are of integers; the others are ternary, the head of int8.
    activations: bits of the codes by site, 8 where left out.
    """
    c, kv, size = config, config.kv_dim, config.head_size
    integers, activations = integers or {}, activations or {}
    nodes: list[Node] = []

    def add(op: str, output: str, type_: Type, *inputs: str, **attributes: Any) -> str:
        nodes.append(Node(op, inputs, output, type_, attributes))
        return output

    def floats(n: int) -> Type:
        return Type("float", (n,))

    def quantise(x: str, n: int, site: str, normalise: bool = True) -> str:
        bits = activations.get(site, 8)
        gain = site if site == "final" or site in c.gains() else None
        return add(
            "norm_quantise",
            f"{site}.q",
            Type(f"int{bits}", (n,), "token"),
            x,
            bits=bits,
            site=site,
            gain=gain,
            normalise=normalise,
        )

    def linear(x: str, matrix: str, rows: int) -> str:
        return add("linear", matrix, floats(rows), x, matrix=matrix, integers=integers.get(matrix))

    add("embed", "x", floats(c.dim))
    prologue, nodes = nodes, []

    xq = quantise("x", c.dim, "attention")
    heads = []
    for name, matrix, dtype, n in (
        ("query", "q", "int16", c.dim),
        ("key", "k", "int8", kv),
        ("value", "v", "int8", kv),
    ):
        value = linear(xq, matrix, n)
        if name != "value":
            value = add("rope", f"{matrix}.rope", floats(n), value)
        codes = Type(dtype, (n // size, size), "head")
        heads.append(add("quantise_heads", f"{name}.codes", codes, value, target=name))
    a = add("attention", "attended", floats(c.dim), *heads)
    o = linear(quantise(a, c.dim, "o", normalise=c.inner_norm), "o", c.dim)
    y = add("add", "x.mid", floats(c.dim), o, "x")
    yq = quantise(y, c.dim, "mlp")
    up, gate = linear(yq, "up", c.hidden), linear(yq, "gate", c.hidden)
    h = add(f"{c.activation}_multiply", "h", floats(c.hidden), gate, up)
    down = linear(quantise(h, c.hidden, "down", normalise=c.inner_norm), "down", c.dim)
    add("add", "x.next", floats(c.dim), down, y)
    body, nodes = nodes, []

    zq = quantise("x.next", c.dim, "final")
    logits = add("head", "logits", floats(c.vocab), zq, integers=integers.get("head", Integers()))
    add("argmax", "next_token", Type("token", ()), logits)
    return Graph(
        c, {"prologue": tuple(prologue), "body": tuple(body), "epilogue": tuple(nodes)}, ("x", "x.next")
    )


def attach_statistics(graph: Graph, one_grid: bool) -> Graph:
    """Let the writer of each quantised value gather its statistics, with the gain that its reader applies.

    The residual stream is written once per layer and read with the next layer's gain, the last time with the
    final gain. Where more than the gain's values differ (block norms have none, or without `one_grid` their
    squares lie on another grid) the epilogue copies the stream to gather anew.
    """
    size = graph.config.head_size
    wanted: dict[str, Statistics] = {}
    blocks = {name: list(nodes) for name, nodes in graph.blocks.items()}
    before, after = graph.carried
    final = next(i for i, node in enumerate(blocks["epilogue"]) if node.op == "norm_quantise")
    if not (graph.config.block_gain and one_grid):
        reader = blocks["epilogue"][final]
        copied = Node("copy", (after,), "x.final", Type("float", (graph.config.dim,)))
        blocks["epilogue"][final : final + 1] = [copied, replace(reader, inputs=("x.final",))]
    for nodes in blocks.values():
        for node in nodes:
            if node.op == "norm_quantise":
                wanted[node.inputs[0]] = Statistics(node.attributes["site"], 0, node.attributes["gain"])
            elif node.op == "quantise_heads":
                wanted[node.inputs[0]] = Statistics(node.attributes["target"], size)
    wanted[after] = replace(wanted[before], gain=wanted[before].gain and "next")
    return graph.with_blocks(
        **{
            name: [replace(node, statistics=wanted.get(node.output)) for node in nodes]
            for name, nodes in blocks.items()
        }
    )


def fuse(graph: Graph) -> Graph:
    """Let each element-wise step ride on the linear whose partial sums it reads.

    rope(linear), add(linear, x) and silu_multiply(linear, up), or relu2_multiply, become the linear itself
    with `function`; the partial sums then pass through the vector unit once.
    """
    fused = {}
    for block, nodes in graph.blocks.items():
        linears = {node.output: node for node in nodes if node.op == "linear"}
        riders = ("rope", "add", "silu_multiply", "relu2_multiply")
        taken = {node.inputs[0] for node in nodes if node.op in riders and node.inputs[0] in linears}
        out = []
        for node in nodes:
            if node.op in riders and node.inputs[0] in linears:
                linear = linears[node.inputs[0]]
                out.append(
                    replace(
                        node,
                        op="linear",
                        inputs=linear.inputs + node.inputs[1:],
                        attributes={**linear.attributes, "function": node.op},
                    )
                )
            elif node.output not in taken:
                out.append(node)
        fused[block] = out
    return graph.with_blocks(**fused)
