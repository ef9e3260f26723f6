"""Graph, passes, and the checker: it accepts what the compiler builds and names every kind of damage."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from compiler.check import GraphError, check
from compiler.graph import Graph, Node, Type, attach_statistics, build, fuse

from ..models.random_model import random_model

CONFIG = random_model().config
PLAIN = random_model(gains=False, norm="l2").config


def stages(gains: bool, one_grid: bool) -> list[Graph]:
    graph = build(CONFIG if gains else PLAIN)
    attached = attach_statistics(graph, one_grid)
    return [graph, attached, fuse(attached)]


@pytest.mark.parametrize("gains", [False, True])
@pytest.mark.parametrize("one_grid", [False, True])
def test_every_stage_is_legal(gains: bool, one_grid: bool):
    graph, attached, fused = stages(gains, one_grid)
    check(graph)
    check(attached, statistics=True)
    check(fused, statistics=True)
    copies = [node for node in fused.blocks["epilogue"] if node.op == "copy"]
    assert len(copies) == (0 if gains and one_grid else 1)


def test_fused_graph_has_no_riders():
    ops = {node.op for nodes in stages(True, True)[2].blocks.values() for node in nodes}
    assert ops == {"embed", "norm_quantise", "linear", "quantise_heads", "attention", "head", "argmax"}


def test_statistics_have_to_be_attached():
    with pytest.raises(GraphError, match="nobody gathered"):
        check(build(CONFIG), statistics=True)


def edit(graph: Graph, output: str, change: Callable[[Node], list[Node]]) -> Graph:
    """The graph with the node that defines `output` replaced."""
    blocks = {name: [new for node in nodes for new in (change(node) if node.output == output else [node])]
              for name, nodes in graph.blocks.items()}  # fmt: skip
    return graph.with_blocks(**blocks)


#: What is done to a node of the built graph, and what the checker says.
DAMAGE = {
    "unknown operation": ("h", lambda n: [replace(n, op="gelu")], "no such operation"),
    "removed": ("q", lambda n: [], "before they are defined"),
    "defined twice": ("q", lambda n: [n, n], "defined twice"),
    "too few inputs": ("x.mid", lambda n: [replace(n, inputs=n.inputs[:1])], "inputs"),
    "another shape": ("up", lambda n: [replace(n, type=Type("float", (3,)))], "is declared"),
    "unequal operands": ("h", lambda n: [replace(n, inputs=("gate", "x"))], "floats of one shape"),
    "codes as floats": ("x.mid", lambda n: [replace(n, inputs=("attention.q", "x"))], "floats"),
    "floats as codes": ("q", lambda n: [replace(n, inputs=("x",))], "int8 codes"),
    "another matrix": ("down", lambda n: [replace(n, attributes={"matrix": "up"})], "int8 codes"),
    "no such matrix": ("down", lambda n: [replace(n, attributes={"matrix": "z"})], "'z'"),
    "unknown site": (
        "o.q",
        lambda n: [replace(n, attributes={**n.attributes, "site": "elsewhere"})],
        "unknown site",
    ),
    "key for value": ("attended", lambda n: [replace(n, inputs=n.inputs[::-1])], "query, key, value"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_named(case: str):
    output, change, message = DAMAGE[case]
    with pytest.raises(GraphError, match=message):
        check(edit(build(CONFIG), output, change))


def test_wrong_statistics_are_named():
    attached = attach_statistics(build(CONFIG), True)
    for output, change in (("q.rope", {"segment": 0}), ("x.mid", {"gain": None})):
        damaged = edit(
            attached, output, lambda n, c=change: [replace(n, statistics=replace(n.statistics, **c))]
        )
        with pytest.raises(GraphError, match="wanted statistics"):
            check(damaged, statistics=True)


def test_carried_values_agree():
    graph = build(CONFIG)
    with pytest.raises(GraphError, match="carried"):
        check(replace(graph, carried=("x", "h")))
    with pytest.raises(GraphError, match="carried"):
        check(replace(graph, carried=("x", "nothing")))
