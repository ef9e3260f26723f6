"""The stage: K and V rows of the tile's tokens, byte for byte as they will lie in memory."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In

from .machine import MachineConfig
from .ports import TOKEN_BITS, StageRead, StageWrite


class Stage(wiring.Component):
    """Two rows of `stage_bytes` for each token of the tile: attention reads the tile's own K/V from here, and
    STORE copies them out.

    Parameters
    ----------
    config : MachineConfig

    Members
    -------
    write : StageWrite (from its other side)
    attention : StageRead(attention_bytes) (from its other side)
    store : StageRead(bus_bytes) (from its other side)

    Latency: a read sees a write of an earlier cycle; data one cycle after address.
    """

    def __init__(self, config: MachineConfig):
        self.config = config
        super().__init__(
            {
                "write": In(StageWrite(config.lanes)),
                "attention": In(StageRead(config.attention_bytes)),
                "store": In(StageRead(config.bus_bytes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        width = max(config.lanes, config.attention_bytes, config.bus_bytes)
        word_bits = width.bit_length() - 1
        rows = config.stage_bytes // width
        m.submodules.memory = memory = Memory(shape=8 * width, depth=2 * rows * config.tile, init=[])

        write = memory.write_port(granularity=32)
        row_bits, token_bits = config.stage_bytes.bit_length() - 1, (config.tile - 1).bit_length()
        address, value, token = Signal(16), Signal(), Signal(TOKEN_BITS)
        m.d.comb += [
            address.eq(Mux(self.write.scale_en, self.write.scale_address, self.write.address)),
            value.eq(self.write.value & ~self.write.scale_en),
            token.eq(Mux(self.write.scale_en, self.write.scale_token, self.write.token)),
            write.addr.eq(Cat(address[word_bits:row_bits], value, token[:token_bits])),
        ]
        for i in range(width // 4):
            data_lane = (4 * i) % config.lanes
            m.d.comb += write.data[32 * i : 32 * i + 32].eq(
                Mux(
                    self.write.scale_en, self.write.scale, self.write.data[8 * data_lane : 8 * data_lane + 32]
                )
            )
            hit = address[2:word_bits] == i if word_bits > 2 else 1
            lane_bits = config.lanes.bit_length() - 1
            group = address[lane_bits:word_bits] == 4 * i // config.lanes if word_bits > lane_bits else 1
            m.d.comb += write.en[i].eq(Mux(self.write.scale_en, hit, self.write.en & group))

        for port, bytes_ in ((self.attention, config.attention_bytes), (self.store, config.bus_bytes)):
            read = memory.read_port()
            low = bytes_.bit_length() - 1
            select = Signal(range(max(2, width // bytes_)))
            m.d.comb += read.addr.eq(
                Cat(port.address[word_bits:row_bits], port.value, port.token[:token_bits])
            )
            m.d.sync += select.eq(port.address[low:word_bits] if word_bits > low else 0)
            m.d.comb += port.data.eq(read.data.word_select(select, 8 * bytes_))
        return m
