"""The quantised activations of the matmul unit."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .machine import MachineConfig
from .ports import ElementWrite

__all__ = ["BLOCK", "ActivationBuffer", "BlockRead"]

#: Activations of one memory word; vectors begin at multiples of it.
BLOCK = 16
#: Words of the deepest memory that is made of look-up tables where the family's have 64 bits.
_SHALLOW = 256


class BlockRead(wiring.Signature):
    """Read neighbouring blocks of `BLOCK` activations of all tokens (seen from the reader): data one cycle
    after address.

    Members
    -------
    block : Out(16)
        First block.
    data : In(ArrayLayout(bits * BLOCK * blocks, tokens))
        Of each token that block and the ones after it, first activation lowest, each of so many bits.
    """

    def __init__(self, blocks: int, tokens: int, bits: int = 8) -> None:
        super().__init__({"block": Out(16), "data": In(data.ArrayLayout(bits * BLOCK * blocks, tokens))})


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
        for bank in range(banks):
            m.submodules[f"bank{bank}"] = memory = Memory(
                shape=block_width * tokens, depth=depth, init=[], attrs=form
            )
            port = memory.write_port(granularity=block_width * lanes // BLOCK)
            here = self.write.en & (block[:bank_bits] == bank)
            m.d.comb += [
                port.en.eq(here << Cat(part, token)),
                port.addr.eq(block[bank_bits:]),
                port.data.eq(self.write.data.replicate(BLOCK // lanes * tokens)),
            ]

            # The first of the blocks from `read.block` on that lies in this bank.
            read = memory.read_port()
            m.d.comb += read.addr.eq((self.read.block + (banks - 1 - bank)) >> bank_bits)
            words.append(data.View(data.ArrayLayout(block_width, tokens), read.data))

        first = Signal(max(1, bank_bits))
        m.d.sync += first.eq(self.read.block[:bank_bits])
        for t in range(tokens):
            blocks = [word[t] for word in words]
            # Rotated by powers of two: a multiplexer of four inputs is one LUT6.
            for bit in range(bank_bits):
                blocks = [
                    Mux(first[bit], blocks[(i + (1 << bit)) % banks], block) for i, block in enumerate(blocks)
                ]
            m.d.comb += self.read.data[t].eq(Cat(*blocks))
        return m
