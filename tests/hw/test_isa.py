"""The instruction table: encoding, decoding, and the page generated from it."""

import runpy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw import isa


def values_of(item: isa.Field) -> st.SearchStrategy[int]:
    if item.values is not None:
        return st.sampled_from([int(value) for value in item.values])
    low = -(1 << item.bits - 1) if item.signed else 0
    return st.integers(low, low + (1 << item.bits) - 1)


@st.composite
def instructions(draw: st.DrawFn) -> tuple[str, dict[str, int]]:
    """A legal instruction with every field given."""
    row = draw(st.sampled_from(isa.INSTRUCTIONS))
    items = [*isa.HEADER[1:], *row.fields]
    return row.name, {item.name: draw(values_of(item)) for item in items}


@given(instructions())
def test_round_trip(instruction: tuple[str, dict[str, int]]):
    name, values = instruction
    word = isa.encode(name, **values)
    assert word < 1 << isa.INSTRUCTION_BITS
    assert isa.decode(word) == (name, values)


def test_fields_do_not_overlap():
    for row in isa.INSTRUCTIONS:
        taken = [bit for item, offset in isa.fields_of(row) for bit in range(offset, offset + item.bits)]
        assert len(taken) == len(set(taken))
        assert max(taken) < isa.INSTRUCTION_BITS
        names = [item.name for item in (*isa.HEADER, *row.fields)]
        assert len(names) == len(set(names))


def test_table_is_consistent():
    assert len(isa.BY_OPCODE) == len(isa.BY_NAME) == len(isa.INSTRUCTIONS)
    assert sum(item.bits for item in isa.HEADER) <= isa.HEADER_BITS
    assert len({register.index for register in isa.CSRS}) == len(isa.CSRS)
    assert max(register.index for register in isa.CSRS) < isa.COUNTER_BASE
    assert isa.COUNTER_BASE + 2 * len(isa.COUNTERS) <= 1 << isa.CSR_ADDRESS_BITS
    for row in isa.INSTRUCTIONS:
        for item in row.fields:
            assert item.values is None or max(item.values) < 1 << item.bits


def test_waits_default_to_none():
    _, values = isa.decode(isa.encode("NORM", d=1))
    assert {values[f"wait_{unit}"] for unit in ("matmul", "vector", "attention", "store")} == {isa.NO_WAIT}


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("MATMULT", {}, "no instruction 'MATMULT'"),
        ("NORM", {"x": 1}, "no field x"),
        ("NORM", {"d": 128}, "wanted 0 to 127, found 128"),
        ("MAP", {"grid": -129}, "wanted -128 to 127"),
    ],
)
def test_encode_refuses(name: str, fields: dict[str, int], message: str):
    with pytest.raises(ValueError, match=message):
        isa.encode(name, **fields)


def test_decode_refuses():
    with pytest.raises(ValueError, match="opcode 63"):
        isa.decode(63)
    word = isa.encode("MAP") | 7 << isa.HEADER_BITS + 3
    with pytest.raises(ValueError, match=r"MAP\.function: 7 is not a Function"):
        isa.decode(word)


def test_page_is_current(root: Path):
    """Otherwise: python docs/generate_isa.py."""
    page = runpy.run_path(str(root / "docs" / "generate_isa.py"))["page"]
    assert (root / "docs" / "isa.md").read_text() == page()
