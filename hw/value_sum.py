"""Sums of weighted values."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .attention_weight import weights_layout
from .delay_line import delay
from .exp2 import PROBABILITY_BITS
from .head_geometry import head_geometry_layout
from .kv_row import part_layout
from .machine import MachineConfig
from .ports import ATTENTION_SUM_BITS

__all__ = ["ValueSum"]


class ValueSum(wiring.Component):
    """Adds weight times V to the sums of all heads: sum[head][e] += weight[head] * v[kv_head][e].

    A part a cycle while the weights of its group are there. Member g of each group has a memory of its own
    with ``attention_bytes`` sums in a word, at the part's place in the V row. As heads * head_size is
    bounded, that of member g needs 1 / (g + 1) of the words of that of member 0.

    Parameters
    ----------
    config : MachineConfig
        Machine.

    Members
    -------
    geometry : In(head_geometry_layout(config))
        Shape.
    part : In(stream of part_layout)
        V parts. ``ready`` does not depend on ``valid``, which may be withdrawn.
    fresh : In(1)
        The part belongs to the first row of the pass: its sums begin at 0.
    weights : In(stream of weights_layout)
        Weights of the group; taken with the last part of the V head.
    busy : Out(1)
        Parts are under way.
    en, address, member, sums : In(1), In, In, Out(attention_bytes * 48)
        Read the sums of ``member`` at word ``address`` (kv_head * parts + part), one cycle after ``en``; they
        stay until the next. Only while not ``busy``.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        self.depth = config.max_query // config.attention_bytes
        super().__init__(
            {
                "geometry": In(head_geometry_layout(config)),
                "part": In(stream.Signature(part_layout(config))),
                "fresh": In(1),
                "weights": In(stream.Signature(weights_layout(config))),
                "busy": Out(1),
                "en": In(1),
                "address": In(range(self.depth)),
                "member": In(range(config.max_group)),
                "sums": Out(config.attention_bytes * ATTENTION_SUM_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        size = self.config.attention_bytes
        part = self.part.payload

        taken = Signal()
        address = Signal(range(self.depth))
        m.d.comb += [
            self.part.ready.eq(self.weights.valid),
            taken.eq(self.part.valid & self.weights.valid),
            self.weights.ready.eq(self.part.valid & part.last),
        ]
        with m.If(taken):
            m.d.sync += address.eq(Mux(part.row_last, 0, address + 1))

        # Stages: operands; products, while the sums are read; new sums. A sum that is written in the cycle in
        # which it is read again is read as written.
        values = delay(m, part.data, 1)
        weights = delay(m, self.weights.payload.as_value(), 1)
        multiplying = delay(m, taken, 1)
        adding = delay(m, multiplying, 1)
        read_address = delay(m, address, 1)
        write_address = delay(m, read_address, 1)
        fresh = delay(m, self.fresh, 2)
        m.d.comb += self.busy.eq(multiplying | adding)

        sums = Signal(data.ArrayLayout(size * ATTENTION_SUM_BITS, self.config.max_group))
        for member in range(self.config.max_group):
            m.submodules[f"member_{member}"] = storage = memory.Memory(
                shape=size * ATTENTION_SUM_BITS, depth=max(1, self.depth // (member + 1)), init=[]
            )
            write = storage.write_port()
            read = storage.read_port(transparent_for=(write,))
            m.d.comb += [
                read.en.eq(multiplying | self.en),
                read.addr.eq(Mux(multiplying, read_address, self.address)),
                write.en.eq(adding & (member < self.geometry.group)),
                write.addr.eq(write_address),
                sums[member].eq(read.data),
            ]
            weight = weights.word_select(member, PROBABILITY_BITS)
            added = []
            for i in range(size):
                product = Signal(signed(PROBABILITY_BITS + 8), reset_less=True, name=f"product_{member}_{i}")
                total = Signal(signed(ATTENTION_SUM_BITS), name=f"total_{member}_{i}")
                before = read.data.word_select(i, ATTENTION_SUM_BITS).as_signed()
                m.d.sync += product.eq(weight * values.word_select(i, 8).as_signed())
                m.d.comb += total.eq(Mux(fresh, 0, before) + product)
                added.append(total)
            m.d.comb += write.data.eq(Cat(added))

        m.d.comb += self.sums.eq(sums[delay(m, self.member, 1, self.en)])
        return m
