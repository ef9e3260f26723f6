"""Head geometry: the shape of attention at run time."""

from amaranth.lib import data

from .machine import MachineConfig

__all__ = ["head_geometry_layout"]


def head_geometry_layout(config: MachineConfig) -> data.StructLayout:
    """The shape of one ATTEND, each at least 1 and held while it runs.

    kv_heads : K/V heads; group : query heads per K/V head, head = kv_head * group + member;
    parts : head size / attention_bytes, the cycles a K or V head takes.
    """
    return data.StructLayout(
        {
            "kv_heads": config.max_heads.bit_length(),
            "group": config.max_group.bit_length(),
            "parts": (config.max_query // config.attention_bytes).bit_length(),
        }
    )
