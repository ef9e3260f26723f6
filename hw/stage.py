"""The stage: K and V rows of the tile's tokens, byte for byte as they will lie in memory."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In

from .machine import MachineConfig
from .ports import TOKEN_BITS, StageRead, StageWrite


class Stage(wiring.Component):
    """Two rows of `stage_bytes` for each token of the tile: attention reads the tile's own K/V from here, and
    STORE copies them out.

    Where ``stage_word`` is ``attention_bytes``, each reader has a port of its own. Else words are narrow,
    both share one port, attention first, and the beats of STORE are put together from words: a beat is there
    W + 2 cycles after it was first wanted, W its words, and one more for each word that attention reads
    meanwhile.

    Parameters
    ----------
    config : MachineConfig

    Members
    -------
    write : StageWrite (from its other side)
    attention : StageRead(stage_word) (from its other side)
    store : StageRead(bus_bytes) (from its other side)

    Latency: a read sees a write of an earlier cycle; data one cycle after address, but for narrow beats.
    """

    def __init__(self, config: MachineConfig):
        self.config = config
        super().__init__(
            {
                "write": In(StageWrite(config.lanes)),
                "attention": In(StageRead(config.stage_word)),
                "store": In(StageRead(config.bus_bytes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        narrow = config.stage_word < config.attention_bytes
        width = config.stage_word if narrow else max(config.lanes, config.attention_bytes, config.bus_bytes)
        word_bits = width.bit_length() - 1
        rows = config.stage_bytes // width
        form = {"ram_style": "ultra", "no_rw_check": 1} if narrow else {}
        m.submodules.memory = memory = Memory(
            shape=8 * width,
            depth=2 * rows * config.tile,
            init=[],
            attrs=form,  # pyright: ignore[reportArgumentType]
        )
        self._write(m, memory, width)
        if narrow:
            self._share(m, memory)
            return m
        for port, bytes_ in ((self.attention, config.attention_bytes), (self.store, config.bus_bytes)):
            read = memory.read_port()
            low = bytes_.bit_length() - 1
            select = Signal(range(max(2, width // bytes_)))
            m.d.comb += read.addr.eq(self._place(width, port.address, port.value, port.token))
            m.d.sync += select.eq(port.address[low:word_bits] if word_bits > low else 0)
            m.d.comb += [port.data.eq(read.data.word_select(select, 8 * bytes_)), port.there.eq(1)]
        return m

    def _place(self, width: int, address: Value, value: Value, token: Value) -> Value:
        """A word of memory."""
        row_bits, token_bits = self.config.stage_bytes.bit_length() - 1, (self.config.tile - 1).bit_length()
        return Cat(address[width.bit_length() - 1 : row_bits], value, token[:token_bits])

    def _write(self, m: Module, memory: Memory, width: int) -> None:
        """Elements, or the scale of a head."""
        lanes, word_bits = self.config.lanes, width.bit_length() - 1
        # The least that is written: the bytes of a scale, or of fewer lanes.
        least = min(4, lanes)
        write = memory.write_port(granularity=8 * least)
        address, value, token = Signal(16), Signal(), Signal(TOKEN_BITS)
        m.d.comb += [
            address.eq(Mux(self.write.scale_en, self.write.scale_address, self.write.address)),
            value.eq(self.write.value & ~self.write.scale_en),
            token.eq(Mux(self.write.scale_en, self.write.scale_token, self.write.token)),
            write.addr.eq(self._place(width, address, value, token)),
        ]
        for i in range(width // least):
            data_lane, scale_part = least * i % lanes, 8 * (least * i % 4)
            scale = self.write.scale[scale_part : scale_part + 8 * least]
            data = self.write.data[8 * data_lane : 8 * (data_lane + least)]
            m.d.comb += write.data[8 * least * i : 8 * least * (i + 1)].eq(
                Mux(self.write.scale_en, scale, data)
            )
            hit = address[2:word_bits] == least * i // 4 if word_bits > 2 else 1
            lane_bits = lanes.bit_length() - 1
            group = address[lane_bits:word_bits] == least * i // lanes if word_bits > lane_bits else 1
            m.d.comb += write.en[i].eq(Mux(self.write.scale_en, hit, self.write.en & group))

    def _share(self, m: Module, memory: Memory) -> None:
        """One port for both. `tag`: the beat that is put together, or was, in `beat`."""
        width, attention, store = self.config.stage_word, self.attention, self.store
        count = self.config.bus_bytes // width
        read = memory.read_port()
        wanted = Cat(store.address, store.value, store.token)
        tag, valid = Signal(len(wanted)), Signal()
        beat = Signal(8 * self.config.bus_bytes, reset_less=True)
        asked, asking, there = Signal(range(count + 1)), Signal(), Signal()
        change, again = Signal(), Signal()
        m.d.comb += [
            # What is written makes the beat old, also where a part of it has been read.
            change.eq(self.write.en | self.write.scale_en),
            again.eq(store.en & (~valid | (tag != wanted))),
            asking.eq(valid & (asked != count) & ~attention.en),
            read.addr.eq(
                Mux(
                    attention.en,
                    self._place(width, attention.address, attention.value, attention.token),
                    self._place(width, tag[:16] + (asked << width.bit_length() - 1), tag[16], tag[17:]),
                )
            ),
            attention.data.eq(read.data),
            attention.there.eq(1),
            store.data.eq(beat),
            store.there.eq(there & valid),
        ]
        arriving = Signal()
        m.d.sync += arriving.eq(asking)
        with m.If(asking):
            m.d.sync += asked.eq(asked + 1)
        with m.If(arriving):
            m.d.sync += beat.eq(Cat(beat[8 * width :], read.data))
        m.d.sync += there.eq(store.en & ~again & (asked == count) & ~asking)
        with m.If(again | change):
            m.d.sync += [
                tag.eq(wanted),
                valid.eq(~change & store.en),
                asked.eq(0),
                arriving.eq(0),
                there.eq(0),
            ]
