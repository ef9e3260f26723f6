"""The quantised activations of the matmul unit."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .lut_mux import LutMux
from .machine import MachineConfig
from .ports import ElementWrite
from .shared import shared

__all__ = ["BLOCK", "ActivationBuffer", "BlockRead"]

#: Activations of one memory word; vectors begin at multiples of it.
BLOCK = 16
#: Words of the deepest memory that is made of look-up tables where the family's have 64 bits.
_SHALLOW = 256
#: Words of a memory that is one LUT6 for each bit; banks that one LUT6 chooses from.
_LUT_WORDS, _FOUR = 64, 4


class BlockRead(wiring.Signature):
    """Read neighbouring blocks of `BLOCK` activations of all tokens (seen from the reader): data one cycle
    after address.

    Members
    -------
    block : Out(16)
        First block.
    hold : Out(1)
        Nothing is read: the data stay as they are.
    data : In(ArrayLayout(bits * BLOCK * blocks, tokens))
        Of each token that block and the ones after it, first activation lowest, each of so many bits.
    """

    def __init__(self, blocks: int, tokens: int, bits: int = 8) -> None:
        super().__init__({
            "block": Out(16), "hold": Out(1), "data": In(data.ArrayLayout(bits * BLOCK * blocks, tokens))
        })  # fmt: skip


class ActivationBuffer(wiring.Component):
    """Memory of quantised activations: narrow writes, reads of as many blocks as HEAD or LINEAR takes in a
    cycle.

    A write is of one token; a read is of all tokens, whose blocks lie side by side in a word. Block b lies in
    bank b modulo the number of banks, so a read may begin at any block. A block read in the cycle in which it
    is written has its old contents.

    Parameters
    ----------
    config : MachineConfig
        ``quantised_words`` activations of ``activation_bits`` for each token of a ``tile``; one bank for each
        16 ``head_lanes``.

    Members
    -------
    write : In(ElementWrite(lanes, activation_bits))
        Writes ``lanes`` activations of a token below ``tile``.
    read : In(BlockRead(banks, tile, activation_bits))
        Addresses wrap at the end of the memory.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        self.banks = max(1, config.head_lanes // BLOCK)
        bits = config.activation_bits
        super().__init__({
            "write": In(ElementWrite(config.lanes, bits)),
            "read": In(BlockRead(self.banks, config.tile, bits)),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        banks, lanes, tokens = self.banks, self.config.lanes, self.config.tile
        block_width = self.config.activation_bits * BLOCK
        bank_bits, part_bits = (banks - 1).bit_length(), (BLOCK // lanes - 1).bit_length()
        depth = max(1, self.config.quantised_words // (BLOCK * banks))

        element = self.write.address >> (lanes - 1).bit_length()
        part, block = element[:part_bits], element[part_bits:]
        token = self.write.token[: (tokens - 1).bit_length()]
        words = []
        # Wide and shallow: block RAM would be used for a fraction of its depth.
        form = {"ram_style": "distributed"} if self.config.family == "xcup" and depth <= _SHALLOW else {}
        # Two memories of so many words as a LUT has, and a multiplexer, where that is the depth.
        parts = 2 if form and depth == 2 * _LUT_WORDS else 1
        for bank in range(banks):
            write = Signal(range(depth), name=f"write{bank}")
            # The first of the blocks from `read.block` on that lies in this bank.
            read = Signal(range(depth), name=f"read{bank}")
            here = self.write.en & (block[:bank_bits] == bank)
            m.d.comb += [
                write.eq(block[bank_bits:]),
                read.eq((self.read.block + (banks - 1 - bank)) >> bank_bits),
            ]
            found = []
            for p in range(parts):
                memory = Memory(shape=block_width * tokens, depth=depth // parts, init=[], attrs=form)
                m.submodules[f"bank{bank}_{p}" if parts > 1 else f"bank{bank}"] = memory
                port = memory.write_port(granularity=block_width * lanes // BLOCK)
                look = memory.read_port(domain="comb" if parts > 1 else "sync")
                within = here if parts == 1 else here & (write[-1] == p)
                m.d.comb += [
                    port.en.eq(within << Cat(part, token)),
                    port.addr.eq(write),
                    port.data.eq(self.write.data.replicate(BLOCK // lanes * tokens)),
                    look.addr.eq(read),
                ]
                if parts == 1:
                    m.d.comb += look.en.eq(~self.read.hold)
                found.append(look.data)
            word = found[0]
            if parts > 1:
                chosen = LutMux(block_width * tokens, parts)
                m.submodules[f"part{bank}"] = shared(chosen, platform)
                word = Signal(block_width * tokens, name=f"word{bank}", reset_less=True)
                m.d.comb += [chosen.select.eq(read[-1]), chosen.i.eq(Cat(*found))]
                with m.If(~self.read.hold):
                    m.d.sync += word.eq(chosen.o)
            words.append(data.View(data.ArrayLayout(block_width, tokens), word))

        first = Signal(max(1, bank_bits))
        with m.If(~self.read.hold):
            m.d.sync += first.eq(self.read.block[:bank_bits])
        for t in range(tokens):
            blocks = [word[t] for word in words]
            turned = [Cat(*(blocks[(i + by) % banks] for by in range(banks))) for i in range(banks)]
            for i in range(banks):
                place = self.read.data[t][i * block_width : (i + 1) * block_width]
                if banks == 1:
                    m.d.comb += place.eq(blocks[0])
                elif banks == _FOUR and self.config.family == "xcup":
                    turn = LutMux(block_width, banks)
                    m.submodules[f"turn{t}_{i}"] = shared(turn, platform)
                    m.d.comb += [turn.select.eq(first), turn.i.eq(turned[i]), place.eq(turn.o)]
                else:
                    m.d.comb += place.eq(turned[i].word_select(first, block_width))
        return m
