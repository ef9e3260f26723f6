"""The instruction table: every instruction of the overlay, once, as data.

Encoder, decoder, assembler, disassembler, Amaranth layouts, the reference page in ``docs/isa.md`` and the
random-program tests are derived from `INSTRUCTIONS`, `HEADER`, `CSRS` and `COUNTERS`.

Meaning of a program: instructions act one after another, in program order, each complete before the next.
The machine overlaps them; the ``wait_*`` fields, which `compiler.hazards` fills in, keep the difference
invisible. FETCH instructions form a second, earlier order: their bytes enter the tape in program order, and
the instructions that consume the tape take them in program order.

The machine works on a chunk of tokens: entries of the token table, each {token, position, base, continues}. CSR
TOKENS says how many there are, CSR TILE how many of them form a tile. The TILE register counts the tiles of the
chunk; the current tile holds the entries from first = TILE register * TILE on, at most TILE of them, fewer in the
last one. A `tiled` instruction acts for each token t = 0, 1, .. of the current tile, another one for t = 0 only.
Each t has its own activation memory ACT, quantised activations Q, partial sums ACC, statistics STAT, queries, staged
K and V rows, scores and attention output; constants CONST, scalars SCALAR and the tape are common. Neighbouring
tokens of a tile belong to one sequence where the later one `continues`; their positions then follow each other.
A decode step is a chunk of one token; a batch is a tile of tokens that continue nothing.

An instruction is 192 bits: a 32-bit header and a body of 160 bits; the first field is lowest.
"""

from dataclasses import dataclass, field
from enum import IntEnum

INSTRUCTION_BITS = 192
HEADER_BITS = 32
#: 32-bit words of one instruction, least significant first, as written to CSR PROGRAM_DATA.
INSTRUCTION_WORDS = INSTRUCTION_BITS // 32
#: Scalars (float32) and statistics slots of the vector unit.
SCALARS = 128
STATISTICS = 128
PREDICATES = 16
#: FETCH instructions that may stand before the instruction that takes the first of their bytes. More would leave
#: the sequencer waiting for room that only a later instruction can make.
FETCH_AHEAD = 8
#: ``wait_*`` value that asks for no waiting; a smaller one is the number of instructions that may be unfinished.
NO_WAIT = 3


class Unit(IntEnum):
    """Who executes an instruction. The first two act in the sequencer, the others have a queue each."""

    CONTROL = 0
    FETCH = 1
    MATMUL = 2
    VECTOR = 3
    ATTENTION = 4
    STORE = 5


class Loop(IntEnum):
    """Register that a LOOP counts in: layers, or tiles of the chunk."""

    LAYER = 0
    TILE = 1


class Index(IntEnum):
    """What a FETCH multiplies its stride with; ENTRY is the place in the chunk, first + t."""

    NONE = 0
    LAYER = 1
    POSITION = 2
    TOKEN = 3
    ENTRY = 4


class Kind(IntEnum):
    """What fetched bytes are counted as."""

    WEIGHTS = 0
    KV = 1
    OTHER = 2


class Source(IntEnum):
    """Where MAP reads its first operand."""

    ACTIVATION = 0
    ACCUMULATOR = 1
    ATTENTION = 2
    TAPE = 3
    LINEAR = 4


class Function(IntEnum):
    """What MAP computes from x (first operand, scaled) and b."""

    COPY = 0
    ADD = 1
    MULTIPLY = 2
    ROPE = 3
    SILU_MULTIPLY = 4
    RELU2_MULTIPLY = 5


#: Functions that read ACT[b + i].
TWO_OPERANDS = (Function.ADD, Function.MULTIPLY, Function.SILU_MULTIPLY, Function.RELU2_MULTIPLY)


class Dest(IntEnum):
    """Where MAP writes."""

    ACTIVATION = 0
    CONSTANT = 1
    SCALAR = 2


class Target(IntEnum):
    """Where QUANTISE writes."""

    MATMUL = 0
    QUERY = 1
    KEY = 2
    VALUE = 3


class Width(IntEnum):
    """Weight codes of LINEAR and HEAD."""

    INT8 = 0
    INT4 = 1


class Pass(IntEnum):
    """Which half of attention an ATTEND runs."""

    KEY = 0
    VALUE = 1


class Feed(IntEnum):
    """Where ATTEND takes K or V from: the tape (tokens before the tile) or the stage (the tile's own)."""

    TAPE = 0
    STAGE = 1


class Payload(IntEnum):
    """What STORE writes to memory."""

    KEY = 0
    VALUE = 1
    LOGITS = 2
    ACTIVATION = 3


@dataclass(frozen=True)
class Field:
    """One bit field: its width, what it means, and the enumeration of its values where it has one."""

    name: str
    bits: int
    meaning: str
    signed: bool = False
    values: type[IntEnum] | None = None


@dataclass(frozen=True)
class Instruction:
    """One instruction: opcode, unit, meaning and body fields, lowest first."""

    name: str
    opcode: int
    unit: Unit
    meaning: str
    fields: tuple[Field, ...] = field(default=())


HEADER = (
    Field("opcode", 6, "which instruction"),
    Field("predicate", 4, "skip the instruction unless this predicate bit is 1 (bit 0 always is)"),
    Field(
        "wait_matmul",
        2,
        "begin when at most this many earlier MATMUL-unit instructions are unfinished (3: any)",
    ),
    Field("wait_vector", 2, "the same for the vector unit"),
    Field("wait_attention", 2, "the same for the attention unit"),
    Field("wait_store", 2, "the same for the store unit; the only one of the four that a FETCH obeys"),
    Field("tiled", 1, "act for each token of the current tile; else for its first"),
)

_STRIDED = (
    Field("base", 32, "byte address, relative to CSR MEMORY_BASE"),
    Field("stride", 28, "bytes per step of the index register"),
)

#: What LINEAR and HEAD have in common: the shape of an integer matrix on the tape.
_INTEGER = (
    Field("rows", 20, "output rows, 1 or more"),
    Field("k", 16, "activations, 1 or more"),
    Field("q", 16, "first activation; multiple of 16"),
    Field("scale", 7, "scalar: scale of the token"),
    Field("width", 1, "bits of a code", values=Width),
    Field(
        "group",
        16,
        "weights that share a scale; multiple of the codes of a row in a unit; 0: no group scales",
    ),
    Field("minima", 1, "groups have minima too; only with `group`"),
)

INSTRUCTIONS = (
    Instruction(
        "END", 0, Unit.CONTROL,
        "Finish the step: wait for all units and write responses; NEXT_TOKEN goes to the output log. The chunk becomes the tokens "
        "that follow: entry 0 = {NEXT_TOKEN of the last entry, its position + 1, its base}, one token; in a batch, {NEXT_TOKEN[t], "
        "position + 1, base} for each entry. Where CSR STEPS asks for more, no error was met, and not every sequence has met a stop token, the "
        "program begins again with it; else the run ends with the interrupt.",
    ),
    Instruction(
        "LOOP", 1, Unit.CONTROL,
        "Set the register to 0 and repeat the instructions up to its NEXT: LAYER `count` times (1 or more), TILE once for each "
        "tile of the chunk. The two may nest, each once.",
        (Field("count", 16, "repetitions, 1 or more; LAYER only"), Field("register", 1, "register", values=Loop)),
    ),
    Instruction(
        "NEXT", 2, Unit.CONTROL,
        "Add 1 to the register; go back to the first instruction after its LOOP while repetitions remain. The TILE register "
        "stays at the last tile when its loop ends; at the beginning of a step both registers are 0.",
        (Field("register", 1, "register", values=Loop),),
    ),
    Instruction(
        "FETCH", 3, Unit.FETCH,
        "Append runs of memory to the tape. Plain: `bytes` bytes from base + LAYER * stride or, for index NONE, base. "
        "Index POSITION, TOKEN, ENTRY: for each t `bytes` bytes from base + index * stride. `sequence` (index LAYER): for each sequence of "
        "the tile, whose first token is t, bytes * position[t] bytes from base + LAYER * stride + bytes * base[t]: the rows of its older "
        "tokens. Every start (MEMORY_BASE, base and stride too) is a multiple of the bus width; the length is any. At most 8 "
        "FETCHes may stand before the instruction that takes the first of their bytes; at END none may be left. It begins when at most "
        "`wait_store` of the STOREs before it in program order are unfinished (3: any).",
        (
            *_STRIDED,
            Field("bytes", 26, "length in bytes (0 is legal and appends nothing)"),
            Field("index", 3, "what selects the start", values=Index),
            Field("sequence", 1, "rows of each sequence's older tokens"),
            Field("kind", 2, "what the bytes count as", values=Kind),
            Field("descriptor", 1, "walk KV descriptors instead of one plain run; 0 in this version"),
        ),
    ),
    Instruction(
        "MATMUL", 4, Unit.MATMUL,
        "ACC[acc + r] = sum over i < k of Q[q + i] * trit[r, i], for r < rows; these Q lie within +-127. Takes rows * ceil(k / 5) tape bytes: "
        "chunk by chunk of `tables` bytes (the last chunk is what remains), in a chunk row by row.",
        (
            Field("rows", 16, "output rows, 1 or more"),
            Field("k", 16, "activations (trits in a row), 1 or more"),
            Field("q", 16, "first int8 activation; multiple of 16"),
            Field("acc", 16, "first partial sum; multiple of the lanes"),
        ),
    ),
    Instruction(
        "HEAD", 5, Unit.MATMUL,
        "y[t, r] as of LINEAR. TOP[t] = the machine's `top_k` largest logits and their rows, in the order "
        "of argmax; NEXT_TOKEN[t] is the first of them. Logits go to the store unit where predicate bit `emit` is 1: row by row, in a row "
        "token by token.",
        (*_INTEGER, Field("emit", 4, "predicate bit that sends the logits to the store unit as well")),
    ),
    Instruction(
        "LINEAR", 11, Unit.MATMUL,
        "ACC[acc + r] = the bits of y[t, r], binary32, for r < rows: y[t, r] = fl(fl(fl(acc) * SCALAR[scale + t]) * row scale), "
        "acc = sum over groups g of group scale[r, g] * (sum over i of Q[q + i] * w[r, i]) + minimum[r, g] * (sum over i of Q[q + i]), i in "
        "g * group .. below (g + 1) * group and k; all of k and scale 1 where group is 0; modulo 2^48. Rows come in pairs, the last one filled up. For a pair "
        "the tape has, group by group, its codes in units of `head_lanes` bytes, the last one filled up, then where group > 0 an int16 scale of each of "
        "the two rows and where `minima` their int16 minima; at the end two binary32 row scales. A byte of INT8 codes is of the even row, the next "
        "of the odd row, for the same i; of INT4 codes the low half is of the even row, the high half of the odd row.",
        (*_INTEGER, Field("acc", 16, "first partial sum; multiple of the lanes")),
    ),
    Instruction(
        "MAP", 6, Unit.VECTOR,
        "For each t, for i < n: x = source[a + i] (ACCUMULATOR and ATTENTION through fl(int), LINEAR the binary32 in ACC); ATTENTION multiplies by the head's "
        "output scale; where `scaled`, x = fl(x * fl(SCALAR[s1 + t] * SCALAR[s2])). z = function(x, b): COPY x; ADD fl(x + "
        "ACT[b + i]); MULTIPLY fl(x * ACT[b + i]); ROPE rotates pairs by CONST[c + t * segment + i mod segment]; SILU_MULTIPLY "
        "fl(silu(x) * ACT[b + i]); RELU2_MULTIPLY fl(fl(r * r) * ACT[b + i]), r = x where x > 0 or NaN, else +0. ACT[d + i], CONST[d + t * n + i] or SCALAR[d + t * n + i] = z. Where `statistics`: STAT[stat + i div segment] = {sum of floor(z^2 / "
        "2^grid), absmax of fl(z * CONST[c + i]) where `gain`, of z otherwise}; segment 0 means all n in one slot. It may "
        "write what it reads only element for element, and not the scalars s1 + t and s2.",
        (
            Field("source", 3, "first operand", values=Source),
            Field("function", 3, "function", values=Function),
            Field("dest", 2, "destination memory", values=Dest),
            Field("scaled", 1, "multiply x by two scalars' product"),
            Field("statistics", 1, "gather statistics of z"),
            Field("gain", 1, "the absmax is of fl(z * CONST[c + i]); not with ROPE"),
            Field("n", 16, "elements; multiple of the lanes; 0 does nothing"),
            Field("a", 16, "first element of the source (ignored for TAPE and ATTENTION); multiple of the lanes"),
            Field("b", 16, "first element of the second operand; multiple of the lanes"),
            Field("c", 16, "first element in constant memory; multiple of the lanes"),
            Field("d", 16, "first element of the destination; multiple of the lanes"),
            Field("s1", 7, "scalar"),
            Field("s2", 7, "scalar"),
            Field("stat", 7, "first statistics slot"),
            Field("segment", 12, "elements per statistics slot and per RoPE row; multiple of the lanes; 0: n"),
            Field("grid", 8, "exponent of the grid of squares", signed=True),
        ),
    ),
    Instruction(
        "QUANTISE", 7, Unit.VECTOR,
        "For each t, for i < n: y = ACT[a + i], times CONST[c + i] where `gain`; q = rne(fl(y * fl(levels / A))) clipped to "
        "+-levels, A the absmax of STAT[stat + i div segment] (segment 0: all in one); q = 0 where A < 2^-100. levels is "
        "32767 for QUERY, else 127. Where `mantissa`, q = rne(fl(y * fl(2048 / E))) clipped to +-2047, E the least power of two above A. target[d + i] = q. With each segment h a scale: QUERY s_q[h] = fl(A * SCALAR[s1]); "
        "KEY and VALUE put A itself into the staged K row at byte 8 h (K) or 8 h + 4 (V); A below 2^-100 counts as 0.",
        (
            Field("target", 2, "destination", values=Target),
            Field("gain", 1, "multiply by CONST first"),
            Field("n", 16, "elements; multiple of the lanes; 0 does nothing"),
            Field("a", 16, "first element in activation memory; multiple of the lanes"),
            Field("c", 16, "first element of the gain; multiple of the lanes"),
            Field("d", 16, "first element (MATMUL: multiple of 16; QUERY: 0) or byte (KEY: 8 * kv_heads; VALUE: 0)"),
            Field("s1", 7, "scalar, QUERY only"),
            Field("stat", 7, "first statistics slot"),
            Field("segment", 12, "elements per slot; multiple of the lanes; 0: n"),
            Field("mantissa", 1, "12-bit mantissas on a shared exponent; target MATMUL, segment 0, `activation_bits` 12"),
        ),
    ),
    Instruction(
        "NORM", 8, Unit.VECTOR,
        "For each t: SCALAR[d + t] = A (0 where below 2^-100), or where `normalise` fl(A * fl(1 / fl(sqrt(fl(fl(fl(S) * SCALAR[c]) + "
        "SCALAR[eps]))))), {S, A} = STAT[stat]. Where `mantissa`, E stands for A, the least power of two above it (0 where A is below 2^-100). With `normalise`, a saturated S makes the run an error; what follows in the "
        "run is undefined.",
        (
            Field("normalise", 1, "apply 1 / sqrt"),
            Field("stat", 7, "statistics slot"),
            Field("c", 7, "scalar: 2^grid / n or 2^grid * n"),
            Field("eps", 7, "scalar"),
            Field("d", 7, "scalar written"),
            Field("mantissa", 1, "the power of two above the absmax for the absmax; `activation_bits` 12"),
        ),
    ),
    Instruction(
        "ATTEND", 9, Unit.ATTENTION,
        "One pass over one feed. KEY: for each token take its K row {(s_k, s_v) per K/V head, K bytes}; append a score "
        "per query head and keep maxima; `first` starts anew, `last` ends the pass (both passes need both). VALUE: for each token take its V row; add value weight "
        "times V to the sums; `first` starts the sums, `last` ends them and sends the output of all heads to MAP. "
        "Rows: on the TAPE, for each sequence of the tile, those of its older tokens (as many as its first token's position), seen by all "
        "its tokens; in the STAGE row t, seen by t and the later tokens of its sequence. Output: token by token. A token sees at most max_context rows. On the tape every row "
        "is padded to the bus width; scales are +0, positive normal or infinite. From the TAPE it takes nothing before all MATMUL, LINEAR and HEAD "
        "in front of it have taken theirs, and needs no `wait_matmul` for that.",
        (
            Field("half", 1, "pass", values=Pass),
            Field("feed", 1, "where rows come from", values=Feed),
            Field("first", 1, "first ATTEND of this pass"),
            Field("last", 1, "last ATTEND of this pass"),
            Field("kv_heads", 8, "K/V heads"),
            Field("group", 6, "query heads per K/V head"),
            Field("head_size", 10, "elements of a head; multiple of the lanes; `segment` of the QUANTISE of its queries"),
        ),
    ),
    Instruction(
        "STORE", 10, Unit.STORE,
        "Write to memory, at multiples of the bus width. KEY, VALUE: for each t, `bytes` bytes of the staged row at base + LAYER * stride "
        "+ (base[t] + position[t]) * step. ACTIVATION: for each t, ACT[a ..] at base + LAYER * stride + (first + t) * step. LOGITS: at base "
        "+ LAYER * stride, `bytes` for each t, all in one run as HEAD gives them; directly follows its HEAD, tiled like it. Finished when "
        "memory has answered.",
        (
            *_STRIDED,
            Field("step", 24, "bytes per row"),
            Field("bytes", 24, "length in bytes; multiple of 4 (0 is legal and writes nothing)"),
            Field("payload", 2, "what is written", values=Payload),
            Field("a", 16, "first element of activation memory; multiple of the lanes; ACTIVATION only"),
        ),
    ),
)  # fmt: skip

#: One (layer, token) of the KV memory, for descriptor-driven fetches (FETCH.descriptor, later versions).
KV_DESCRIPTOR = (
    Field("valid", 1, "the entry exists"),
    Field("source_layer", 7, "layer whose K/V is used; the layer itself for plain attention"),
    Field("width", 4, "bits of K and V elements; 8 for plain attention"),
    Field("slot", 20, "row in the layer's KV memory; the position for plain attention"),
    Field("position", 20, "position of the token in its sequence"),
    Field("sequence", 8, "sequence the token belongs to; 0 for a single one"),
)

BY_NAME = {instruction.name: instruction for instruction in INSTRUCTIONS}
BY_OPCODE = {instruction.opcode: instruction for instruction in INSTRUCTIONS}


@dataclass(frozen=True)
class Register:
    """One control and status register: a 32-bit word at word index `index`."""

    name: str
    index: int
    access: str
    meaning: str


#: Registers that hold a stop token each, and the bit of them that says so.
STOP_TOKENS = 4
STOP_ENABLE = 31
#: Bit of ENTRY_BASE: the token belongs to the sequence of the entry before it.
CONTINUES = 31

CSRS = (
    Register("ID", 0, "r", "0x4E495254: 'TRIN', least significant byte first"),
    Register("ISA", 1, "r", "first 32 bits of the digest of the instruction table"),
    Register("MACHINE", 2, "r", "first 32 bits of the digest of the machine configuration"),
    Register("CONTROL", 3, "w", "bit 0: doorbell, run the program; bit 1: acknowledge the interrupt; bit 2: clear counters"),
    Register("STATUS", 4, "r", "bit 0: running; bit 1: interrupt pending; bit 2: error"),
    Register("ENTRY", 5, "rw", "entry of the token table that the next three registers show"),
    Register("ENTRY_TOKEN", 6, "rw", "token id, whose embedding is fetched; the table is written with ENTRY_BASE"),
    Register("ENTRY_POSITION", 7, "rw", "position of the token: the number of older tokens of its sequence; written with ENTRY_BASE"),
    Register("ENTRY_BASE", 8, "rw", "bits 19:0: row of the KV memory where the sequence begins; bit 31: the token continues the "
             "sequence of the entry before. A write stores token, position and this, and adds 1 to ENTRY"),
    Register("TOKENS", 9, "rw", "tokens of the chunk, 1 or more: entries 0 .. TOKENS - 1"),
    Register("TILE", 10, "rw", "tokens of a tile, 1 to the machine's `tile`"),
    Register("STEPS", 11, "rw", "runs of the program for one doorbell, 1 or more; each but the first takes the tokens that the one "
             "before found"),
    Register("BATCH", 12, "rw", "bit 0: the entries, one tile of them, are separate sequences and all go on; else the last entry goes on"),
    *(Register(f"STOP_{i}", 13 + i, "rw", "bits 19:0: a token that ends its sequence; bit 31: in use") for i in range(STOP_TOKENS)),
    Register("PREDICATES", 17, "rw", "predicate bits; bit 0 reads 1, bit 2 is the machine's"),
    Register("GENERATED", 18, "r", "steps finished since the doorbell"),
    Register("OUTPUT", 19, "rw", "entry of the output log that OUTPUT_TOKEN shows"),
    Register("OUTPUT_TOKEN", 20, "r", "NEXT_TOKEN of a step: entry `step`, or in a batch step * TOKENS + t, modulo the machine's `max_context`"),
    Register("TOP", 21, "rw", "bits 7:0: rank r, bits 11:8: token t of the last HEAD's tile that the next two registers show"),
    Register("TOP_TOKEN", 22, "r", "TOP[t][r]: token id; r = 0: NEXT_TOKEN[t]. 0xFFFFFFFF where HEAD had fewer rows"),
    Register("TOP_LOGIT", 23, "r", "TOP[t][r]: its logit, binary32"),
    Register("ERROR", 24, "r", "bits 7:0 error code (see ERRORS), bits 23:8 layer (of the NORM for code 1, else where the sequencer is)"),
    Register("PROGRAM_ADDRESS", 25, "rw", "32-bit word of program memory that PROGRAM_DATA writes next (8 words an instruction, 6 used)"),
    Register("PROGRAM_DATA", 26, "w", "write one word of program memory and add 1 to PROGRAM_ADDRESS"),
    Register("MEMORY_BASE", 27, "rw", "byte address added to every memory address"),
)  # fmt: skip
CSR_INDEX = {register.name: register.index for register in CSRS}
ID_VALUE = 0x4E495254
#: Counter i is read at COUNTER_BASE + 2 i (low word) and + 1 (high word).
COUNTER_BASE = 64
CSR_ADDRESS_BITS = 12

#: Predicate bit that asks for logits in memory, by convention of the compiler.
EMIT_LOGITS = 1
#: Predicate bit that the machine sets: the chunk has more than one tile.
MANY_TILES = 2
#: Predicate bit that asks for the head, by convention of the compiler: of the last tile, for its next tokens.
WANT_HEAD = 3

ERRORS = {
    0: "no error",
    1: "a sum of squares saturated: raise the grid exponent of this tensor",
    2: "the memory answered a read with an error",
    3: "the memory answered a write with an error",
    4: "unknown opcode",
    5: "the program left bytes on the tape at END",
}


@dataclass(frozen=True)
class Counter:
    """One 64-bit counter; `exact` ones do not depend on time, and the interpreter predicts them."""

    name: str
    exact: bool
    meaning: str


COUNTERS = (
    Counter("cycles", False, "cycles from doorbell to interrupt"),
    Counter("steps", True, "runs of the program"),
    Counter("tokens", True, "tokens of the chunks that were run"),
    Counter("instructions", True, "instructions issued to units"),
    Counter("fetches", True, "FETCH instructions, empty ones included"),
    Counter("weight_bytes", True, "tape bytes of kind WEIGHTS"),
    Counter("kv_read_bytes", True, "tape bytes of kind KV"),
    Counter("other_bytes", True, "tape bytes of kind OTHER"),
    Counter("kv_write_bytes", True, "bytes stored from the K and V stage"),
    Counter("logit_bytes", True, "bytes of logits stored"),
    Counter("spill_bytes", True, "bytes stored from activation memory"),
    Counter("read_beats", True, "read beats on the bus"),
    Counter("lookups", True, "tape bytes used as table addresses"),
    Counter("integer_products", True, "integer products of LINEAR and HEAD, units filled up included"),
    Counter("attention_products", True, "integer products of ATTEND, both passes"),
    Counter("vector_elements", True, "elements through MAP and QUANTISE"),
    Counter("score_saturations", True, "attention scores that saturated (a NaN becomes 0 and is not counted)"),
    Counter("bus_full", False, "cycles without a read beat because the tape FIFO had no room for another burst"),
    Counter("bus_wait", False, "cycles without a read beat while one was owed by the memory"),
    Counter("bus_idle", False, "cycles without a read beat because nothing was asked of the memory"),
    Counter("matmul_active", False, "cycles in which the matmul unit took from the tape"),
    Counter("matmul_starved", False, "cycles in which the matmul unit lacked tape"),
    Counter("attention_active", False, "cycles in which attention took a row part and the matmul unit nothing"),
    Counter("attention_starved", False, "cycles in which attention lacked tape"),
    Counter("vector_only", False, "cycles in which of the units only the vector unit worked"),
    Counter("vector_starved", False, "cycles in which a MAP from the tape lacked it"),
    Counter("overhead", False, "remaining cycles: pipelines filling, issue, end of token"),
    Counter("starved_bus_free", False, "cycles in which a unit lacked tape, none was on its way and nothing was asked of the memory"),
)  # fmt: skip
COUNTER_INDEX = {counter.name: i for i, counter in enumerate(COUNTERS)}


def fields_of(instruction: Instruction) -> tuple[tuple[Field, int], ...]:
    """(field, bit offset in the 192-bit instruction) for header and body."""
    placed, offset = [], 0
    for item in HEADER:
        placed.append((item, offset))
        offset += item.bits
    offset = HEADER_BITS
    for item in instruction.fields:
        placed.append((item, offset))
        offset += item.bits
    if offset > INSTRUCTION_BITS:
        raise AssertionError(f"{instruction.name} has {offset} bits, room for {INSTRUCTION_BITS}")
    return tuple(placed)


def encode(name: str, **values: int) -> int:
    """The 192-bit word of one instruction. Fields not given are 0; waits not given are NO_WAIT.

    Raises ValueError for an unknown instruction or field, or a value that does not fit its field.
    """
    if name not in BY_NAME:
        raise ValueError(f"no instruction {name!r}; there are {', '.join(BY_NAME)}")
    instruction = BY_NAME[name]
    given = {**{h.name: NO_WAIT for h in HEADER if h.name.startswith("wait_")}, **values,
             "opcode": instruction.opcode}  # fmt: skip
    word = 0
    for item, offset in fields_of(instruction):
        value = int(given.pop(item.name, 0))
        low, high = (
            (-(1 << item.bits - 1), (1 << item.bits - 1) - 1) if item.signed else (0, (1 << item.bits) - 1)
        )
        if not low <= value <= high:
            raise ValueError(f"{name}.{item.name}: wanted {low} to {high}, found {value}")
        word |= (value & (1 << item.bits) - 1) << offset
    if given:
        raise ValueError(f"{name} has no field {', '.join(given)}; it has "
                         f"{', '.join(f.name for f, _ in fields_of(instruction))}")  # fmt: skip
    return word


def decode(word: int) -> tuple[str, dict[str, int]]:
    """Name and all field values (header included, opcode left out) of one 192-bit word; ValueError if illegal."""
    opcode = word & (1 << HEADER[0].bits) - 1
    if opcode not in BY_OPCODE:
        raise ValueError(f"opcode {opcode} is not in the instruction table")
    instruction, values = BY_OPCODE[opcode], {}
    for item, offset in fields_of(instruction):
        value = word >> offset & (1 << item.bits) - 1
        if item.signed and value >> item.bits - 1:
            value -= 1 << item.bits
        if item.values is not None and value not in [int(v) for v in item.values]:
            raise ValueError(f"{instruction.name}.{item.name}: {value} is not a {item.values.__name__}")
        values[item.name] = value
    del values["opcode"]
    return instruction.name, values


def digest() -> str:
    """SHA-256 (hexadecimal) of instruction table, registers and counters: the identity of the ISA."""
    import hashlib

    return hashlib.sha256(repr((HEADER, INSTRUCTIONS, CSRS, COUNTERS)).encode()).hexdigest()
