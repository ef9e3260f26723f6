"""The memories of the vector unit: activations, constants, scalars and statistics."""

from typing import Any, cast

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout, View
from amaranth.lib.memory import Memory, MemoryData
from amaranth.lib.wiring import In, Out

from .isa import SCALARS, STATISTICS, Dest
from .lut_mux import LutMux
from .machine import MachineConfig
from .ports import ActivationRead
from .shared import shared
from .square_sum import TOTAL_BITS
from .vector_statistics import StatisticsWrite

__all__ = ["VectorMemory"]

#: No answer is needed to a read of what is being written.
_UNCHECKED: Any = {"no_rw_check": 1}
#: Large memories are made of UltraRAM.
_ULTRA: Any = {"ram_style": "ultra"} | _UNCHECKED
_ULTRA_WORDS = 1 << 14


class VectorMemory(wiring.Component):
    """Activation and constant memory of binary32 words of ``lanes`` elements, scalars, statistics slots.

    Activation memory and statistics have a bank for each token of a tile; constants and scalars are common.
    All addresses count elements. An address beyond a memory or bank wraps around; in a word address, and in
    the low bits of it, the element of the word is ignored.

    Parameters
    ----------
    config : MachineConfig
        Sizes.

    Attributes
    ----------
    LATENCY : int
        Cycles from ``a``, ``b``, ``c`` or that of ``spill`` to the word of that address. A word written in a
        cycle is read with addresses of the next one.
    activation, constant, scalar, totals, maxima : MemoryData
        The memories, for simulation: words, words, words, a total for each slot, a maximum for each slot;
        bank after bank.

    Members
    -------
    a, b, a_token, b_token, a_en, b_en
        : In(16), In(16), In(range(tile)), In(range(tile)), In(1), In(1)
        Addresses of words of activation memory, and the tokens they belong to. One of them at most is to be
        read in a cycle; in a cycle without, ``spill`` is.
    c : In(16)
        Address of a word of constant memory.
    word, late_word, c_word : Out(ArrayLayout(32, lanes))
        The word of activation memory; that of the cycle before; the one of constant memory.
    spill : In(ActivationRead(lanes))
        A word of activation memory for another unit.
    write_en, write_dest, write_token, write_address, write_word
        : In(1), In(2), In(range(tile)), In(16), In(ArrayLayout(32, lanes))
        Write a word to a memory of `hw.isa.Dest`; the token matters for ACTIVATION.
    scalar_en, scalar_value : In(1), In(32)
        Write one scalar, that of ``write_address``; not in a cycle with ``write_en``.
    index_0, index_1, index_2, value_0, value_1, value_2 : In(range(SCALARS)), Out(32)
        Three scalars, read in the same cycle.
    instead_en, instead : In(1), In(32)
        ``value_1`` is this number instead.
    slot, total_token, total, maximum_token, maximum
        : In(range(STATISTICS)), In(range(tile)), Out(63), In(range(tile)), Out(32)
        A statistics slot, of one token for the total and of one for the maximum, read in the same cycle.
    statistics : In(StatisticsWrite(tile))
        Write statistics slots.
    """

    LATENCY = 2

    def __init__(self, config: MachineConfig) -> None:
        self.lanes = config.lanes
        word, index, slot = ArrayLayout(32, self.lanes), range(SCALARS), range(STATISTICS)
        tokens = config.tile
        token = range(tokens)
        bank = config.activation_words // self.lanes
        self._bank_bits = (bank - 1).bit_length()
        self._ultra = config.family == "xcup" and config.activation_words * tokens >= _ULTRA_WORDS
        self.activation = MemoryData(shape=word, depth=tokens * bank, init=[])
        self.constant = MemoryData(shape=word, depth=config.constant_words // self.lanes, init=[])
        self.scalar = MemoryData(shape=word, depth=SCALARS // self.lanes, init=[])
        self.totals = MemoryData(shape=TOTAL_BITS, depth=tokens * STATISTICS, init=[])
        self.maxima = MemoryData(shape=32, depth=tokens * STATISTICS, init=[])
        super().__init__(
            {
                "a": In(16),
                "b": In(16),
                "a_token": In(token),
                "b_token": In(token),
                "c": In(16),
                "a_en": In(1),
                "b_en": In(1),
                "word": Out(word),
                "late_word": Out(word),
                "c_word": Out(word),
                "spill": In(ActivationRead(self.lanes)),
                "write_en": In(1),
                "write_dest": In(2),
                "write_token": In(token),
                "write_address": In(16),
                "write_word": In(word),
                "scalar_en": In(1),
                "scalar_value": In(32),
                "index_0": In(index),
                "index_1": In(index),
                "index_2": In(index),
                "value_0": Out(32),
                "value_1": Out(32),
                "value_2": Out(32),
                "instead_en": In(1),
                "instead": In(32),
                "slot": In(slot),
                "total_token": In(token),
                "total": Out(TOTAL_BITS),
                "maximum_token": In(token),
                "maximum": Out(32),
                "statistics": In(StatisticsWrite(tokens)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        attrs = _ULTRA if self._ultra else _UNCHECKED
        m.submodules.activation = activation = Memory(self.activation, attrs=attrs)
        m.submodules.constant = constant = Memory(self.constant, attrs=_UNCHECKED)
        m.submodules.scalar = scalar = Memory(self.scalar)
        m.submodules.totals = totals = Memory(self.totals)
        m.submodules.maxima = maxima = Memory(self.maxima)
        in_word = (self.lanes - 1).bit_length()

        def banked(token: Value, address: Value) -> Value:
            within = address[in_word : in_word + self._bank_bits]
            return Cat(within, Const(0, self._bank_bits - len(within)), token)

        # The second cycle is the output register of a block RAM.
        inner = Mux(self.b_en, banked(self.b_token, self.b), banked(self.a_token, self.a))
        outer = banked(self.spill.token, self.spill.address)
        m.d.comb += [
            self.spill.ready.eq(~(self.a_en | self.b_en)),
            self.spill.data.eq(self.word),
        ]
        m.d.sync += self.late_word.eq(self.word)
        for memory, address, word in (
            (activation, Mux(self.spill.ready, outer, inner), self.word),
            (constant, self.c[in_word:], self.c_word),
        ):
            port = memory.read_port()
            register = Signal.like(word, reset_less=True)
            m.d.comb += [
                port.addr.eq(address),
                word.eq(register),
            ]
            m.d.sync += register.eq(port.data)
        for memory, dest, address in (
            (activation, Dest.ACTIVATION, banked(self.write_token, self.write_address)),
            (constant, Dest.CONSTANT, self.write_address[in_word:]),
        ):
            port = memory.write_port()
            m.d.comb += [
                port.addr.eq(address),
                port.data.eq(self.write_word),
                port.en.eq(self.write_en & (self.write_dest == dest)),
            ]

        port = scalar.write_port(granularity=1)
        m.d.comb += port.addr.eq(self.write_address[in_word:])
        with m.If(self.scalar_en):
            m.d.comb += port.en.eq(1 << self.write_address[:in_word])
            for lane in range(self.lanes):
                m.d.comb += cast(View, port.data)[lane].eq(self.scalar_value)
        with m.Else():
            m.d.comb += [
                port.data.eq(self.write_word),
                port.en.eq((self.write_en & (self.write_dest == Dest.SCALAR)).replicate(self.lanes)),
            ]
        for i, (index, value) in enumerate((
            (self.index_0, self.value_0),
            (self.index_1, self.value_1),
            (self.index_2, self.value_2),
        )):  # fmt: skip
            port = scalar.read_port(domain="comb")
            element = LutMux(32, self.lanes)
            m.submodules[f"scalar_{i}"] = shared(element, platform)
            m.d.comb += [
                port.addr.eq(index[in_word:]),
                element.i.eq(port.data),
                element.select.eq(index[:in_word]),
                value.eq(element.o),
            ]
        with m.If(self.instead_en):
            m.d.comb += self.value_1.eq(self.instead)

        write = self.statistics
        for memory, en, slot, value, token, found in (
            (totals, write.total_en, Cat(write.total_slot, write.total_token), write.total,
             self.total_token, self.total),
            (maxima, write.maximum_en, Cat(write.maximum_slot, write.maximum_token), write.maximum,
             self.maximum_token, self.maximum),
        ):  # fmt: skip
            port = memory.write_port()
            read = memory.read_port(domain="comb")
            m.d.comb += [
                port.addr.eq(slot),
                port.data.eq(value),
                port.en.eq(en),
                read.addr.eq(Cat(self.slot, token)),
                found.eq(read.data),
            ]
        return m
