"""Machine configuration: everything that sizes one overlay, in one frozen dataclass.

Model dimensions are not here: they are run-time values, bounded by these sizes. Whether a model fits is
the compiler's question (`compiler.fit`), and its answer names the field below that would have to grow.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass

from .engines import table_form


@dataclass(frozen=True)
class MachineConfig:
    """Sizes of one overlay processor.

    All counts are in the unit that the field's comment gives; every field is part of the machine's identity
    (`digest`), so an artefact built for one machine is refused by another.
    """

    #: Name shown to users and stored in artefacts.
    name: str
    #: Bytes the memory bus moves in a cycle: 4 to 64, a power of two.
    bus_bytes: int
    #: Bytes of ternary codes (5 weights each) consumed in a cycle: look-up table pairs side by side.
    tables: int
    #: Bytes of int8 or int4 codes that LINEAR and HEAD take a cycle, two rows side by side. A power of two, 2
    #: or more.
    head_lanes: int
    #: float32 lanes of the vector unit: 2, 4, 8 or 16.
    lanes: int
    #: Bytes of K or V of one head that the attention unit takes a cycle, and multipliers of a core. A power
    #: of two, 4 or more; heads need not be a multiple, nor as large.
    attention_bytes: int
    #: Query heads that share one K/V head at most (Gmax).
    max_group: int
    #: Words of ``2 * bus_bytes`` in the tape FIFO.
    fifo_words: int
    #: Read bursts in flight at most, and beats in one burst.
    outstanding: int
    burst_beats: int
    #: float32 elements of activation memory.
    activation_words: int
    #: float32 elements of the constant memory (gains, RoPE row).
    constant_words: int
    #: int32 partial sums.
    accumulator_rows: int
    #: Activations the matmul engine can hold (largest K).
    quantised_words: int
    #: Scores on chip: heads x tokens at most.
    score_words: int
    #: Heads, and elements of all heads together, each filled up to whole ``attention_bytes``, at most.
    max_heads: int
    max_query: int
    #: Longest context in tokens.
    max_context: int
    #: Bytes of the staged K (with scales) and V rows of one token, each.
    stage_bytes: int
    #: Tokens in a tile at most (they share each weight that is read): 1, 2, 4 or 8.
    tile: int = 1
    #: Cores of the attention unit; token t of a tile belongs to core t modulo their number. 0: one a token.
    attention_cores: int = 0
    #: Entries of the token table: tokens of a chunk at most. A power of two.
    max_chunk: int = 128
    #: Bits of an activation of LINEAR and HEAD at most: 8, or 12 for mantissas on a shared exponent.
    activation_bits: int = 12
    #: FPGA family it is meant for, a key of `hw.packing.FAMILIES`: which DSP block, which ternary engine.
    family: str = "ecp5"
    #: How a byte of five trits finds its sum: "split", a table of 27 and one of 9 in look-up tables, or
    #: "byte", one of 243 in block RAM, which takes 243 cycles to build.
    table_form: str = "split"
    #: Largest logits that HEAD keeps for each token of the tile.
    top_k: int = 32
    #: Scores that a core of the attention unit holds for all its tokens together; 0: `score_words` for each.
    score_pool: int = 0
    #: AXI4 ports that share the bus's bytes: reads go to them burst by burst, writes to the first.
    ports: int = 1
    #: Cycles of a binary32 multiplication: 3, or 4 where operands are registers first: its factors, those of
    #: sums of squares and of sigmoids, the integer engine's. For devices whose multipliers are slow.
    multiply_cycles: int = 3
    #: Instructions in program memory.
    program_words: int = 256
    #: Instructions decoded ahead of execution.
    queue_depth: int = 32
    #: Clock the configuration is meant for.
    clock_mhz: float = 100.0

    def __post_init__(self) -> None:
        def need(ok: bool, field: str, wanted: str) -> None:
            if not ok:
                found = getattr(self, field)
                raise ValueError(f"machine {self.name!r}: {field} must be {wanted}, found {found}")

        def power(value: int) -> bool:
            return value > 0 and value & (value - 1) == 0

        need(power(self.bus_bytes) and 4 <= self.bus_bytes <= 64, "bus_bytes", "a power of two in 4..64")
        need(self.lanes in (2, 4, 8, 16), "lanes", "2, 4, 8 or 16")
        need(power(self.head_lanes) and self.head_lanes >= 2, "head_lanes", "a power of two, 2 or more")
        need(
            power(self.attention_bytes) and self.attention_bytes >= 4,
            "attention_bytes",
            "a power of two, 4 or more",
        )
        need(self.tables >= 1, "tables", "1 or more")
        need(
            power(self.ports) and 4 * self.ports <= self.bus_bytes,
            "ports",
            "a power of two, 4 bytes of the bus or more each",
        )
        need(1 <= self.burst_beats <= 256, "burst_beats", "1 to 256 (AXI4)")
        need(self.burst_beats * self.bus_bytes <= 4096, "burst_beats", "at most 4096 bytes a burst (AXI4)")
        need(self.burst_beats * self.ports <= 256, "burst_beats", "at most 256 beats of a port (AXI4)")
        # A SyncFIFOBuffered of two entries refuses a word while it holds one: Fetch would lose it.
        need(self.fifo_words >= max(4, self.burst_beats), "fifo_words", "4 or more, and room for two bursts")
        need(self.tile in (1, 2, 4, 8), "tile", "1, 2, 4 or 8")
        need(
            0 <= self.attention_cores <= self.tile and self.tile % max(1, self.attention_cores) == 0,
            "attention_cores",
            "a divisor of tile, or 0 for one core a token",
        )
        for field in ("max_query", "stage_bytes"):
            need(getattr(self, field) >= self.attention_bytes, field, "attention_bytes or more")
        need(self.max_chunk <= 256, "max_chunk", "at most 256 (instruction set)")
        need(self.activation_bits in (8, 12), "activation_bits", "8 or 12")
        need(self.family in ("ecp5", "xcup"), "family", "ecp5 or xcup")
        need(self.multiply_cycles in (3, 4), "multiply_cycles", "3 or 4")
        need(self.table_form in ("split", "byte"), "table_form", "split or byte")
        need(1 <= self.top_k <= 128, "top_k", "1 to 128")
        # FrontEnd counts the STOREs of the queue and those beside the unit in 8 bits.
        need(2 <= self.queue_depth <= 240, "queue_depth", "2 to 240")
        need(
            self.score_pool == 0 or (power(self.score_pool) and self.score_pool >= self.score_words),
            "score_pool",
            "0, or a power of two, score_words or more",
        )
        for field in (
            "max_chunk",
            "max_context",
            "activation_words",
            "constant_words",
            "accumulator_rows",
            "quantised_words",
            "score_words",
            "max_query",
            "stage_bytes",
            "fifo_words",
        ):
            need(power(getattr(self, field)), field, "a power of two")

    @property
    def core_tokens(self) -> int:
        """Tokens of a tile that one core of the attention unit serves."""
        return self.tile // (self.attention_cores or self.tile)

    @property
    def core_scores(self) -> int:
        """Scores that a core of the attention unit holds."""
        return self.score_pool or self.core_tokens * self.score_words

    def tile_at(self, heads: int, rows: int) -> int:
        """Tokens of a tile at most whose scores the attention unit holds, each for ``heads`` heads and up to
        ``rows`` rows; 1 or more."""
        cores = self.tile // self.core_tokens
        return max(1, min(self.tile, cores * (self.core_scores // (heads * rows))))

    @property
    def stage_word(self) -> int:
        """Bytes that are read from the stage in a cycle: all that the attention unit takes, or where that is
        much and there is UltraRAM, which is narrow and deep, two units of a part."""
        word = 2 * min(self.attention_bytes, self.lanes)
        narrow = self.family == "xcup" and 2 * word < self.attention_bytes and word <= self.bus_bytes
        return word if narrow else self.attention_bytes

    @property
    def scale_pairs(self) -> int:
        """Pairs of scales of a K row that the attention unit takes a cycle: as many bytes as of K."""
        return max(1, self.attention_bytes // 8)

    def unit_codes(self, bits: int) -> int:
        """Codes of one row in a unit of LINEAR and HEAD: `head_lanes` bytes hold those of two rows."""
        return self.head_lanes * 4 // bits

    @property
    def unit_bytes(self) -> int:
        """Most bytes any consumer takes from the tape in a cycle."""
        return max(self.tables, self.head_lanes, 4 * self.lanes, self.attention_bytes, 8)

    @property
    def fifo_bytes(self) -> int:
        """Bytes in one word of the tape FIFO: two beats, so that the drain is faster than the fill."""
        return 2 * self.bus_bytes

    def to_json(self) -> dict[str, object]:
        """Plain values of all fields, in order."""
        return dataclasses.asdict(self)

    def digest(self) -> str:
        """SHA-256 over all fields, hexadecimal: the identity stored in artefacts and in a CSR."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()


#: Rows of the smallest matrices that the named machines are meant for (K and V of a small model).
_ROWS = 64

CI = MachineConfig(
    name="ci", bus_bytes=8, tables=13, head_lanes=16, lanes=4, attention_bytes=16, max_group=4,
    fifo_words=512, outstanding=8, burst_beats=32, activation_words=2048, constant_words=1024,
    accumulator_rows=1024, quantised_words=512, score_words=4096, max_heads=16, max_query=512,
    max_context=512, stage_bytes=256, tile=4, table_form=table_form("ecp5", _ROWS),
)  # fmt: skip
#: Half of everything: a 4-byte bus, 7 tables (35 weights a cycle), tiles of one token.
NARROW = dataclasses.replace(
    CI, name="narrow", bus_bytes=4, tables=7, head_lanes=8, attention_bytes=8, fifo_words=256, tile=1
)
#: Twice everything but the tile: a 16-byte bus, 26 tables (130 weights a cycle), 8 lanes.
WIDE = dataclasses.replace(
    CI,
    name="wide",
    bus_bytes=16,
    tables=26,
    head_lanes=32,
    lanes=8,
    attention_bytes=32,
    burst_beats=16,
    tile=2,
)
#: The memory of a Kria K26 (64 bit of DDR4-2400: 19.2 GB/s) by 4 ports of 128 bit at 300 MHz; 385 weights a
#: cycle for each of 4 tokens. With tiles of 8 it takes about 177,000 look-up tables of 117,120
#: (docs/resources.md).
KV260 = MachineConfig(
    name="kv260", bus_bytes=64, tables=77, head_lanes=64, lanes=8, attention_bytes=128, max_group=8,
    fifo_words=4096, ports=4, outstanding=16, burst_beats=16, activation_words=8192, constant_words=4096,
    accumulator_rows=8192, quantised_words=8192, score_words=16384, max_heads=16, max_query=2048,
    max_context=1024, stage_bytes=2048, tile=4, attention_cores=1, score_pool=65536, activation_bits=8,
    family="xcup",
    table_form=table_form("xcup", 1536), clock_mhz=300.0,
)  # fmt: skip
#: For the SDRAM of a ULX3S, 2 bytes a cycle: 4 tables (20 weights a cycle), int8 activations only, one token.
ULX3S = dataclasses.replace(
    NARROW,
    name="ulx3s",
    tables=4,
    head_lanes=4,
    lanes=2,
    attention_bytes=4,
    fifo_words=128,
    outstanding=4,
    max_chunk=16,
    queue_depth=16,
    activation_bits=8,
    top_k=8,
    multiply_cycles=4,
    clock_mhz=60.0,
)

#: Named machines, as the command line knows them.
MACHINES = {machine.name: machine for machine in (CI, NARROW, WIDE, KV260, ULX3S)}
