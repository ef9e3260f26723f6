"""Graph to instructions: each node becomes one to three of them, operands at their places on chip.

Instructions that take from the tape say what they take (`Content`), so the tape's layout follows from the
order of its consumers and cannot disagree with it. All instructions but those that load constants act for
each token of a tile. Where a chunk has several tiles, the residual stream rests in memory between layers.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from hw.isa import (
    EMIT_LOGITS,
    MANY_TILES,
    WANT_HEAD,
    Dest,
    Feed,
    Function,
    Pass,
    Payload,
    Source,
    Target,
    Width,
)
from models.config import matrix_shapes

from .fit import Places
from .graph import Graph, Integers, Node

#: Parts of a program in order, each with the block of the tape that it takes from. "embedding" is a loop over
#: tiles; "again" and "body" together are one, in the loop over layers.
PARTS = {
    "prologue": "prologue",
    "embedding": "prologue",
    "rope": "prologue",
    "again": "body",
    "body": "body",
    "epilogue": "epilogue",
}
#: Contents whose bytes depend on token, position or place in the chunk: fetched from regions of their own.
SIDE = ("embedding", "rope", "key", "value", "spill")


@dataclass(frozen=True)
class Content:
    """What an instruction takes from the tape.

    kind: "scalars" or "gain" (name: which), "matrix" (name), "head", or one of `SIDE`.
    """

    kind: str
    name: str = ""


@dataclass(frozen=True)
class Step:
    """One instruction to be: its name and fields as `isa.encode` takes them, waits left out."""

    name: str
    fields: dict[str, int] = field(default_factory=dict)
    content: Content | None = None


class Lowering:
    """Lowers one graph; `parts` holds the steps of each of `PARTS` in the order of the graph."""

    def __init__(self, graph: Graph, places: Places, grids: dict[str, int]) -> None:
        self._config, self._places, self._grids = graph.config, places, grids
        self._shapes = matrix_shapes(graph.config)
        self.parts: dict[str, list[Step]] = {}
        self._begin("prologue")
        self._scalars("fixed", (*places.fixed_scalars, *places.layer_scalars), 0)
        if graph.config.block_gain:
            self._gain("attention")
        self._begin("embedding")
        self._nodes(graph, "prologue")
        self._spill()
        self._begin("rope")
        self._rope_rows()
        self._begin("again", MANY_TILES)
        self._again(graph)
        self._begin("body")
        self._nodes(graph, "body")
        self._spill()
        self._begin("epilogue", WANT_HEAD)
        self._nodes(graph, "epilogue")

    def _begin(self, part: str, predicate: int = 0) -> None:
        """What is added from here on belongs to `part`, under `predicate` where it names none itself."""
        self._steps = self.parts[part] = []
        self._predicate = predicate

    def _nodes(self, graph: Graph, block: str) -> None:
        for node in graph.blocks[block]:
            lower: Callable[[Node], None] = getattr(self, f"_{node.op}")
            lower(node)

    # --- pieces -------------------------------------------------------------------------------------------

    def _add(self, name: str, content: Content | None = None, /, **fields: int) -> None:
        fields = {"tiled": 1, "predicate": self._predicate, **fields}
        self._steps.append(Step(name, {key: int(value) for key, value in fields.items()}, content))

    def _map(self, source: Source, n: int, content: Content | None = None, /, **fields: int) -> None:
        self._add("MAP", content, **{"source": source, "n": n, **fields})

    def _scalars(self, name: str, group: tuple[str | None, ...], first: int) -> None:
        self._map(Source.TAPE, len(group), Content("scalars", name), dest=Dest.SCALAR, d=first, tiled=0)

    def _gain(self, name: str) -> None:
        self._map(
            Source.TAPE,
            self._config.gains().get(name, self._config.dim),
            Content("gain", name),
            dest=Dest.CONSTANT,
            d=self._places.constant[name],
            tiled=0,
        )

    def _rope_rows(self) -> None:
        """The RoPE rows of the tile's tokens."""
        self._map(
            Source.TAPE,
            self._config.head_size,
            Content("rope"),
            dest=Dest.CONSTANT,
            d=self._places.constant["rope"],
        )

    def _again(self, graph: Graph) -> None:
        """What a layer begins with, where another tile has used its places: constants, RoPE rows, x.

        x comes last: it waits until that of the tile before is in memory.
        """
        group = self._places.again_scalars
        last = len(self._places.fixed_scalars) + len(self._places.layer_scalars)
        self._scalars("again", group, last - len(group))
        if self._config.block_gain:
            self._gain("attention")
        self._rope_rows()
        (embed,) = graph.blocks["prologue"]
        self._embed(embed, "spill")

    def _spill(self) -> None:
        """x to memory, if other tiles come before the layer that reads it."""
        self._add(
            "STORE",
            predicate=MANY_TILES,
            bytes=4 * self._config.dim,
            payload=Payload.ACTIVATION,
            a=self._places.activation["x"],
        )

    def _statistics(self, node: Node) -> dict[str, int]:
        """Fields of the MAP that writes `node`'s output."""
        wanted, fields = node.statistics, {}
        if wanted:
            fields = {
                "statistics": 1,
                "stat": self._places.statistics[wanted.site],
                "segment": wanted.segment,
                "grid": self._grids.get(wanted.site, 0),
            }
            if wanted.gain:
                fields |= {"gain": 1, "c": self._places.constant[wanted.gain]}
        return fields

    def _residual(self, name: str) -> str:
        """Activation name of a value: the residual stream has one place, whatever its version."""
        return "x" if name == "x" or name.startswith("x.") else name.removesuffix(".rope")

    # --- operations ---------------------------------------------------------------------------------------

    def _embed(self, node: Node, content: str = "embedding") -> None:
        self._map(
            Source.TAPE,
            self._config.dim,
            Content(content),
            d=self._places.activation["x"],
            **self._statistics(node),
        )

    def _copy(self, node: Node) -> None:
        """Gather the statistics of the final norm."""
        if not self._config.block_gain:
            self._gain("final")
        x = self._places.activation["x"]
        self._map(Source.ACTIVATION, self._config.dim, a=x, d=x, **self._statistics(node))

    def _norm_quantise(self, node: Node) -> None:
        site, places, mantissa = node.attributes["site"], self._places, {}
        fields = {"a": places.activation[self._residual(node.inputs[0])], "d": places.quantised[site]}
        if gain := node.attributes["gain"]:
            fields |= {"gain": 1, "c": places.constant[gain]}
        if node.attributes["bits"] == 12:
            fields["mantissa"] = mantissa["mantissa"] = 1
        self._add(
            "QUANTISE", target=Target.MATMUL, n=node.type.shape[0], stat=places.statistics[site], **fields
        )
        eps = "eps_final" if site == "final" else "eps"
        self._add(
            "NORM",
            normalise=node.attributes["normalise"],
            stat=places.statistics[site],
            c=places.scalar[f"c_{site}"],
            eps=places.scalar[eps],
            d=places.scalar[f"s_{site}"],
            **mantissa,
        )

    def _linear(self, node: Node) -> None:
        """MATMUL or LINEAR, and the MAP that reads what it leaves."""
        matrix, places = node.attributes["matrix"], self._places
        rows, k = self._shapes[matrix]
        site = node.inputs[0].removesuffix(".q")
        integers: Integers | None = node.attributes["integers"]
        shape = {"rows": rows, "k": k, "q": places.quantised[site], "acc": places.accumulator[matrix]}
        scale = places.scalar[f"s_{site}"]
        if integers is None:
            self._add("MATMUL", Content("matrix", matrix), **shape)
            read = {
                "source": Source.ACCUMULATOR,
                "scaled": 1,
                "s1": scale,
                "s2": places.scalar[f"k_{matrix}"],
            }
        else:
            self._add("LINEAR", Content("matrix", matrix), **shape, scale=scale, **_form(integers))
            read = {"source": Source.LINEAR}
        fields, function = self._statistics(node), node.attributes.get("function")
        if function == "rope":
            fields |= {"function": Function.ROPE, "c": places.constant["rope"]}
        elif function:
            fields |= {
                "function": Function[function.upper()],
                "b": places.activation[self._residual(node.inputs[1])],
            }
        self._add(
            "MAP",
            n=rows,
            a=places.accumulator[matrix],
            **read,
            d=places.activation[self._residual(node.output)],
            **fields,
        )

    def _quantise_heads(self, node: Node) -> None:
        target, places = Target[node.attributes["target"].upper()], self._places
        heads, size = node.type.shape
        fields = {Target.QUERY: {"s1": places.scalar["query"]}, Target.KEY: {"d": 8 * heads}}.get(target, {})
        self._add(
            "QUANTISE",
            target=target,
            n=heads * size,
            segment=size,
            a=places.activation[self._residual(node.inputs[0])],
            stat=places.statistics[node.attributes["target"]],
            **fields,
        )

    def _attention(self, node: Node) -> None:
        """Both passes over older tokens and the tile's own, its K/V to memory, the output to activations.

        The constants of the rest of the layer, and the k of the next layer's first matrices, are loaded here,
        where the vector unit has nothing to do.
        """
        c, places = self._config, self._places
        shape = {"kv_heads": c.kv_heads, "group": c.heads // c.kv_heads, "head_size": c.head_size}
        self._add("ATTEND", Content("key"), half=Pass.KEY, feed=Feed.TAPE, first=1, **shape)
        self._add("ATTEND", half=Pass.KEY, feed=Feed.STAGE, last=1, **shape)
        self._add("STORE", bytes=8 * c.kv_heads + c.kv_dim, payload=Payload.KEY)
        self._add("STORE", bytes=c.kv_dim, payload=Payload.VALUE)
        self._add("ATTEND", Content("value"), half=Pass.VALUE, feed=Feed.TAPE, first=1, **shape)
        self._add("ATTEND", half=Pass.VALUE, feed=Feed.STAGE, last=1, **shape)
        self._scalars("layer", places.layer_scalars, len(places.fixed_scalars))
        for name in ("o", "mlp", "down"):
            if name in c.gains():
                self._gain(name)
        if c.block_gain:
            self._gain("next")
        self._map(Source.ATTENTION, c.dim, d=places.activation["attended"], **self._statistics(node))

    def _head(self, node: Node) -> None:
        c, places = self._config, self._places
        self._add(
            "HEAD",
            Content("head"),
            rows=c.vocab,
            k=c.dim,
            q=places.quantised["final"],
            scale=places.scalar["s_final"],
            emit=EMIT_LOGITS,
            **_form(node.attributes["integers"]),
        )
        self._add("STORE", predicate=EMIT_LOGITS, bytes=4 * c.vocab, payload=Payload.LOGITS)

    def _argmax(self, node: Node) -> None:
        """HEAD does it."""


def _form(integers: Integers) -> dict[str, int]:
    """Fields of LINEAR and HEAD."""
    width = {8: Width.INT8, 4: Width.INT4}[integers.bits]
    return {"width": width, "group": integers.group, "minima": int(integers.minima)}


def lower(graph: Graph, places: Places, grids: dict[str, int]) -> dict[str, list[Step]]:
    """Steps of each of `PARTS`, tape consumers in tape order."""
    return Lowering(graph, places, grids).parts
