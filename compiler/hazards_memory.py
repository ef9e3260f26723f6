"""Which FETCH reads what which STORE writes.

Regions of memory are told apart by the `base` of the instructions that name them: different bases, different
bytes. Within a region, layers are `stride` apart and hold what belongs to them, so K and V rows of one layer
are never those of another. Rows of the chunk (STORE ACTIVATION, FETCH by ENTRY) are told apart by tiles where
they are no longer than from one to the next.

With that, in the usual program (for each layer, for each tile: FETCH older rows; STORE K, STORE V; STORE the
residual stream where there are many tiles) older rows wait for the tile before, in the same layer, and the
residual stream for the same tile, in the layer before. A chunk of one tile has no such pair; what its FETCHes
still wait for is a STORE of the layer before, finished long ago.
"""

from dataclasses import dataclass

from hw.isa import Index, Payload


@dataclass(frozen=True)
class Place:
    """What an instruction touches of memory: a region, and where known one of its layers or tiles.

    layer, tile: (bytes from one to the next, which), or None: any of them.
    """

    base: int
    layer: tuple[int, int] | None = None
    tile: tuple[int, int] | None = None


def place(name: str, fields: dict[str, int], layer: int, tile: int) -> Place:
    """Of a FETCH or STORE in turn `layer` and `tile` of the loops. Fields left out are 0."""
    base, stride, size = (fields.get(field, 0) for field in ("base", "stride", "bytes"))
    index, payload = Index(fields.get("index", 0)), Payload(fields.get("payload", 0))
    if name == "FETCH" and index == Index.ENTRY:
        return Place(base, tile=(stride, tile) if size <= stride else None)
    if name == "FETCH" and (index != Index.LAYER or (size > stride and not fields.get("sequence"))):
        return Place(base)
    if name == "STORE" and payload == Payload.ACTIVATION and not stride:
        step = fields.get("step", 0)
        return Place(base, tile=(step, tile) if size <= step else None)
    return Place(base, layer=(stride, layer) if stride else None)


def same_bytes(a: Place, b: Place) -> bool:
    """Whether both may touch the same byte."""
    return a.base == b.base and not _apart(a.layer, b.layer) and not _apart(a.tile, b.tile)


def _apart(a: tuple[int, int] | None, b: tuple[int, int] | None) -> bool:
    """Two different ones of the same row of layers, or tiles."""
    return a is not None and b is not None and a[0] == b[0] and a[1] != b[1]
