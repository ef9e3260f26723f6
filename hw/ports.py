"""Signatures between the units of the overlay: commands, tape, memory ports. All on one clock domain."""

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .isa import HEADER, INSTRUCTION_BITS, INSTRUCTIONS, SCALARS, fields_of
from .machine import MachineConfig

LAYER_BITS = 16
POSITION_BITS = 20
TOKEN_ID_BITS = 20
#: Bits of an index into the token table, and of a token of a tile.
ENTRY_BITS = 8
TOKEN_BITS = 3
#: Bits of one attention sum (numerics: u0.24 weights times int8 over up to 2**16 tokens).
ATTENTION_SUM_BITS = 48


def instruction_layout(name: str) -> data.Layout:
    """All fields of one instruction, by name, over its 192 bits."""
    from amaranth.hdl import signed, unsigned

    row = next(instruction for instruction in INSTRUCTIONS if instruction.name == name)
    return data.FlexibleLayout(
        INSTRUCTION_BITS,
        {
            item.name: data.Field(signed(item.bits) if item.signed else unsigned(item.bits), offset)
            for item, offset in fields_of(row)
        },
    )


def header_layout() -> data.Layout:
    """The header fields, by name, over 192 bits."""
    offset, fields = 0, {}
    for item in HEADER:
        fields[item.name] = data.Field(item.bits, offset)
        offset += item.bits
    return data.FlexibleLayout(INSTRUCTION_BITS, fields)


def command_layout() -> data.StructLayout:
    """An issued instruction with what its registers had in program order.

    `first`: entry of the tile's first token; `more`: tokens it acts for beside the first (0 where not tiled).
    """
    return data.StructLayout(
        {"word": INSTRUCTION_BITS, "layer": LAYER_BITS, "first": ENTRY_BITS, "more": TOKEN_BITS}
    )


def entry_layout() -> data.StructLayout:
    """One entry of the token table, as CSRs ENTRY_* describe it."""
    return data.StructLayout(
        {"token": TOKEN_ID_BITS, "position": POSITION_BITS, "base": POSITION_BITS, "continues": 1}
    )


class EntryRead(wiring.Signature):
    """Read the token table (seen from the reader): the entry in the same cycle as its index."""

    def __init__(self):
        super().__init__({"index": Out(ENTRY_BITS), "entry": In(entry_layout())})


class EntryWrite(wiring.Signature):
    """Write an entry of the token table (seen from the writer); always accepted."""

    def __init__(self):
        super().__init__({"en": Out(1), "index": Out(ENTRY_BITS), "entry": Out(entry_layout())})


class UnitPort(wiring.Signature):
    """How the sequencer drives an execution unit (seen from the sequencer).

    Members
    -------
    command : stream of `command_layout`
        One instruction. The unit takes it when it can begin (it may take the next one while an earlier one
        is still in its pipeline, if it keeps program order).
    done : In(1)
        High for one cycle per finished instruction, in order: everything it writes can be read from the next
        cycle on by any unit.
    """

    def __init__(self):
        super().__init__({"command": Out(stream.Signature(command_layout())), "done": In(1)})


class TapePort(wiring.Signature):
    """Byte-granular reading of the tape (seen from the consumer).

    Members
    -------
    want : Out(0..unit_bytes)
        Bytes that the next take removes, 1 or more where there is to be one; 0 where another unit takes. It
        should come early in a cycle: ``enough`` follows from it, and what a take leaves.
    data : In(8 * unit_bytes)
        The next bytes of the tape, the very next one lowest.
    enough : In(1)
        So many are there now.
    take : Out(1)
        They are removed at this clock edge; only while ``enough``, on which it may depend combinationally,
        and only where the unit executes an instruction that takes from the tape.
    starved : Out(1)
        The unit could use the bytes now, and they are not there.
    """

    def __init__(self, config: MachineConfig):
        unit = config.unit_bytes
        super().__init__(
            {
                "want": Out(range(unit + 1)),
                "data": In(8 * unit),
                "enough": In(1),
                "take": Out(1),
                "starved": Out(1),
            }
        )


class ElementWrite(wiring.Signature):
    """Write `lanes` neighbouring elements of `bits` bits in a cycle (seen from the writer); always accepted.

    Members: en Out(1); token Out(TOKEN_BITS), whose elements; address Out(16), first element, a multiple of
    `lanes`; data Out(lanes * bits), lane 0 lowest.
    """

    def __init__(self, lanes: int, bits: int):
        super().__init__(
            {"en": Out(1), "token": Out(TOKEN_BITS), "address": Out(16), "data": Out(lanes * bits)}
        )


class QueryWrite(wiring.Signature):
    """Quantised queries from the vector unit to the attention unit (seen from the writer); always accepted.

    A QUANTISE with target QUERY sends all elements in order, token by token.

    Members
    -------
    en, token, address, data : as in `ElementWrite`, 16 bits an element; address is head * head_size +
        element.
    scale_en, scale_token, scale_head, scale : Out(1), Out(TOKEN_BITS), Out(8), Out(32)
        s_q of one head; sent before its elements, never in the same cycle as `en`.
    """

    def __init__(self, lanes: int):
        super().__init__(
            {"en": Out(1), "token": Out(TOKEN_BITS), "address": Out(16), "data": Out(lanes * 16),
             "scale_en": Out(1), "scale_token": Out(TOKEN_BITS), "scale_head": Out(8), "scale": Out(32)}
        )  # fmt: skip


class StageWrite(wiring.Signature):
    """Quantised K or V of a token and its scales, to the stage (seen from the writer); always accepted.

    Members
    -------
    en, token, value, address, data : Out(1), Out(TOKEN_BITS), Out(1), Out(16), Out(lanes * 8)
        `lanes` bytes at byte `address` (multiple of lanes) of the token's K row (value = 0) or V row
        (value = 1).
    scale_en, scale_token, scale_address, scale : Out(1), Out(TOKEN_BITS), Out(16), Out(32)
        Four bytes at byte `scale_address` (multiple of 4) of the K row. Never in the same cycle as `en`.
    """

    def __init__(self, lanes: int):
        super().__init__(
            {"en": Out(1), "token": Out(TOKEN_BITS), "value": Out(1),
             "address": Out(16), "data": Out(lanes * 8),
             "scale_en": Out(1), "scale_token": Out(TOKEN_BITS), "scale_address": Out(16), "scale": Out(32)}
        )  # fmt: skip


class AccumulatorRead(wiring.Signature):
    """Read `lanes` neighbouring partial sums of a token (seen from the reader): data one cycle after address.

    Members: en Out(1); token Out(TOKEN_BITS); address Out(16), first row, multiple of `lanes`;
    data In(lanes * 32).
    """

    def __init__(self, lanes: int):
        super().__init__({"en": Out(1), "token": Out(TOKEN_BITS), "address": Out(16), "data": In(lanes * 32)})


class ActivationRead(wiring.Signature):
    """Read a word of activation memory (seen from the reader): data two cycles after an address was taken.

    Members: token Out(TOKEN_BITS); address Out(16), element, of which the word's first is meant; ready In(1),
    the address of this cycle is taken (the vector unit itself comes first); data In(lanes * 32).
    """

    def __init__(self, lanes: int):
        super().__init__(
            {"token": Out(TOKEN_BITS), "address": Out(16), "ready": In(1), "data": In(lanes * 32)}
        )


class ScalarRead(wiring.Signature):
    """Read one scalar of the vector unit (seen from the reader): value in the same cycle as index."""

    def __init__(self):
        super().__init__({"index": Out(range(SCALARS)), "value": In(32)})


class StageRead(wiring.Signature):
    """Read the stage (seen from the reader): data one cycle after address, or later.

    Members
    -------
    en : Out(1)
        A word is wanted; without it what comes is of no use.
    token, value, address : Out(TOKEN_BITS), Out(1), Out(16)
        Whose row; 0 = K row, 1 = V row; byte of it, a multiple of `width`.
    there, data : In(1), In(8 * width)
        ``data`` are those of what was wanted in the cycle before; else it is to be asked for again.
    """

    def __init__(self, width: int):
        super().__init__(
            {"en": Out(1), "token": Out(TOKEN_BITS), "value": Out(1), "address": Out(16),
             "there": In(1), "data": In(8 * width)}
        )  # fmt: skip


class TopRead(wiring.Signature):
    """Read what HEAD ranked (seen from the reader): one cycle after rank and token.

    Members: rank Out(8), token Out(TOKEN_BITS); valid In(1), HEAD had so many rows; index In(20), row;
    value In(32), logit.
    """

    def __init__(self):
        super().__init__({"rank": Out(8), "token": Out(TOKEN_BITS),
                          "valid": In(1), "index": In(20), "value": In(32)})  # fmt: skip


def attention_output_layout(lanes: int) -> data.StructLayout:
    """What the attention unit streams to MAP: `lanes` sums of one head (lane 0 lowest) and the head's scale.

    Token by token, heads in order 0, 1, ..., elements in order in a head. `scale` is numerics.output_scale of
    that head.
    """
    return data.StructLayout({"sums": lanes * ATTENTION_SUM_BITS, "scale": 32})
