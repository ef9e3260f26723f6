"""Head geometry: the shape of attention at run time."""

from amaranth.hdl import Module, Value
from amaranth.lib import data

from .machine import MachineConfig

__all__ = ["connect_geometry", "head_geometry_layout", "unit_bytes"]


def unit_bytes(config: MachineConfig) -> int:
    """What all parts of a row are multiples of."""
    return min(config.attention_bytes, config.lanes)


def head_geometry_layout(config: MachineConfig) -> data.StructLayout:
    """The shape of one ATTEND, each at least 1 and held while it runs.

    kv_heads : K/V heads; group : query heads per K/V head, head = kv_head * group + member; heads : their
    product; parts : of a K or V head, ``attention_bytes`` each but the last; last : size of that in
    `unit_bytes`.
    """
    return data.StructLayout(
        {
            "kv_heads": config.max_heads.bit_length(),
            "group": config.max_group.bit_length(),
            "heads": config.max_heads.bit_length(),
            "parts": (config.max_query // config.attention_bytes).bit_length(),
            "last": (config.attention_bytes // unit_bytes(config)).bit_length(),
        }
    )


def connect_geometry(m: Module, config: MachineConfig, command: data.View, geometry: data.View) -> None:
    """Find parts and last from the fields of an ATTEND; ``heads``, a product, a cycle later than those."""
    step_bits = unit_bytes(config).bit_length() - 1
    place_bits = (config.attention_bytes // unit_bytes(config)).bit_length() - 1
    steps: Value = command.head_size >> step_bits
    m.d.comb += [
        geometry.kv_heads.eq(command.kv_heads),
        geometry.group.eq(command.group),
        geometry.parts.eq((steps + (1 << place_bits) - 1) >> place_bits),
        geometry.last.eq(((steps - 1)[:place_bits] if place_bits else 0) + 1),
    ]
    m.d.sync += geometry.heads.eq(geometry.kv_heads * geometry.group)
