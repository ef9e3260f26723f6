"""The token table: the tokens of the chunk, with their places."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In

from .machine import MachineConfig
from .ports import EntryRead, EntryWrite, entry_layout

__all__ = ["READERS", "TokenTable"]

#: Who reads: the front end of the sequencer, attention, store, and the step control with the host behind it.
READERS = 4


class TokenTable(wiring.Component):
    """`max_chunk` entries of `entry_layout`; indices wrap.

    Parameters
    ----------
    config : MachineConfig

    Members
    -------
    write : In(EntryWrite())
        An entry is read as written from the next cycle on.
    read : In(EntryRead()) array
        Each an entry in the same cycle.
    """

    def __init__(self, config: MachineConfig):
        self.config = config
        super().__init__({"write": In(EntryWrite()), "read": In(EntryRead()).array(READERS)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = Memory(shape=entry_layout(), depth=self.config.max_chunk, init=[])
        port = memory.write_port()
        m.d.comb += [
            port.en.eq(self.write.en),
            port.addr.eq(self.write.index),
            port.data.eq(self.write.entry),
        ]
        for reader in range(READERS):
            found = memory.read_port(domain="comb")
            m.d.comb += [found.addr.eq(self.read[reader].index), self.read[reader].entry.eq(found.data)]
        return m
