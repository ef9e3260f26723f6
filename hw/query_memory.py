"""Quantised queries of one token."""

from amaranth.hdl import Cat, Module, Mux
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from .delay_line import delay
from .machine import MachineConfig
from .ports import QueryWrite

__all__ = ["QueryMemory"]


class QueryMemory(wiring.Component):
    """int16 queries, written by the vector unit; a word for each member of a group is read at once.

    A word has ``attention_bytes`` elements. They lie flat (head * head_size + element), so the writer needs
    no head geometry and a reader keeps running addresses. Where a write spans several words (lanes >
    attention_bytes), these lie in banks of their own.

    Parameters
    ----------
    config : MachineConfig
        Machine.

    Members
    -------
    write : In(QueryWrite)
        Elements and scales; of which token is not looked at.
    en : In(1)
        Read at this clock edge; the word stays until the next.
    addresses : In(ArrayLayout(range(max_query / attention_bytes), max_group))
        Word of each member: its first element / attention_bytes.
    words : Out(ArrayLayout(16 * attention_bytes, max_group))
        Elements, lowest first, one cycle after ``en``.
    head : In(range(max_heads))
        Head whose scale is wanted.
    scale : Out(32)
        s_q of the head, in the same cycle.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        word = 16 * config.attention_bytes
        super().__init__({
            "write": In(QueryWrite(config.lanes)),
            "en": In(1),
            "addresses": In(data.ArrayLayout(
                (config.max_query // config.attention_bytes - 1).bit_length(), config.max_group)),
            "words": Out(data.ArrayLayout(word, config.max_group)),
            "head": In(range(config.max_heads)),
            "scale": Out(32),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        size, lanes, group = self.config.attention_bytes, self.config.lanes, self.config.max_group
        banks = max(1, lanes // size)
        slots = max(1, size // lanes)
        element_bits = (min(size, lanes) - 1).bit_length()
        slot_bits = (slots - 1).bit_length()
        bank_bits = (banks - 1).bit_length()

        # A write address is {row, bank or slot, element}: one of banks and slots is 1, and has no bits.
        slot = self.write.address[element_bits:][:slot_bits] if slot_bits else 0
        row = self.write.address[element_bits + slot_bits + bank_bits :]
        read_data = []
        for bank in range(banks):
            m.submodules[f"bank_{bank}"] = storage = memory.Memory(
                shape=16 * size, depth=self.config.max_query // (size * banks), init=[]
            )
            port = storage.write_port(granularity=16 * min(size, lanes))
            bank_data = self.write.data.word_select(bank, 16 * min(size, lanes))
            m.d.comb += [
                port.en.eq(Mux(self.write.en, 1 << slot, 0)),
                port.addr.eq(row),
                port.data.eq(bank_data.replicate(slots)),
            ]
            ports = [storage.read_port() for _ in range(group)]
            for member, read in enumerate(ports):
                m.d.comb += [
                    read.en.eq(self.en),
                    read.addr.eq(self.addresses[member][bank_bits:]),
                ]
            read_data.append(ports)
        for member in range(group):
            word = Cat(ports[member].data for ports in read_data)
            if bank_bits:
                chosen = delay(m, self.addresses[member][:bank_bits], 1, self.en)
                word = word.word_select(chosen, 16 * size)
            m.d.comb += self.words[member].eq(word)

        m.submodules.scales = scales = memory.Memory(shape=32, depth=self.config.max_heads, init=[])
        port = scales.write_port()
        read = scales.read_port(domain="comb")
        m.d.comb += [
            port.en.eq(self.write.scale_en),
            port.addr.eq(self.write.scale_head),
            port.data.eq(self.write.scale),
            read.addr.eq(self.head),
            self.scale.eq(read.data),
        ]
        return m
