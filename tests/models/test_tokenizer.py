"""Both kinds of tokenizer: known ids, lossless round trips, embedding in an artefact, refusals."""

import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.tokenizer import Tokenizer, byte_alphabet
from models.train import train_tokenizer

_TEXT = "Once upon a time, there was a little girl named Lily. She liked to play in the big park. " * 3


@pytest.fixture(scope="module")
def ours() -> Tokenizer:
    """A small byte-level BPE, trained here."""
    return Tokenizer.from_json(train_tokenizer([_TEXT], 290))


@pytest.fixture(scope="module")
def llama2c(shared: Path) -> Tokenizer:
    """The tokenizer of the reference checkpoints."""
    return Tokenizer.from_llama2c(shared / "checkpoints/tok512.bin", 512)


def test_byte_alphabet_is_a_bijection() -> None:
    alphabet = byte_alphabet()
    assert len(set(alphabet)) == 256
    assert all(alphabet[byte] == chr(byte) for byte in b"AZaz09!~")


def test_own_ids_and_sizes(ours: Tokenizer) -> None:
    assert (ours.vocab_size, ours.bos, ours.eos) == (290, 1, 2)
    assert len(ours.encode(_TEXT)) < len(_TEXT)
    assert ours.decode([1, *ours.encode("Lily"), 2]) == "Lily"
    assert ours.decode_bytes(1) == b""


@given(text=st.text())
def test_own_round_trip(ours: Tokenizer, text: str) -> None:
    ids = ours.encode(text)
    assert ours.decode(ids) == text
    assert b"".join(map(ours.decode_bytes, ids)) == text.encode()


@pytest.mark.parametrize("text", ["<s>", "</s>", "a<unk>b"])
def test_special_names_are_ordinary_text(ours: Tokenizer, text: str) -> None:
    assert not {0, 1, 2} & set(ours.encode(text))
    assert ours.decode(ours.encode(text)) == text


def test_special_names_that_merges_spell(ours: Tokenizer) -> None:
    data = json.loads(ours.to_bytes()[8:])
    data["pre_tokenizer"]["use_regex"] = False  # lets merges join letters and signs
    data["model"]["vocab"]["<s"] = len(data["model"]["vocab"])
    data["model"]["merges"] = [["<", "s"], ["<s", ">"], *data["model"]["merges"]]
    spelling = Tokenizer.from_json(json.dumps(data).encode())
    ids = spelling.encode("a<s>b")
    assert [spelling.decode_bytes(token) for token in ids] == [b"a", b"<", b"s", b">", b"b"]
    assert spelling.decode(ids) == "a<s>b"


def test_special_names_that_llama2c_merges_spell() -> None:
    names = [
        b"<unk>",
        b"<s>",
        b"</s>",
        *(b"<0x%02X>" % byte for byte in range(256)),
        b" ",
        b"<",
        b"s",
        b">",
        b"<s",
    ]
    entries = b"".join(struct.pack("<fi", float(len(name)), len(name)) + name for name in names)
    size = struct.pack("<i", len(names))
    tokenizer = Tokenizer.from_bytes(b"TRTOK2C\0" + size + size + entries)
    assert tokenizer.special_tokens == {"<s>": 1, "</s>": 2}
    assert tokenizer.encode("<s>") == [259, 263, 262]


def test_special_tokens(ours: Tokenizer) -> None:
    assert ours.special_tokens == {"<unk>": 0, "<s>": 1, "</s>": 2}
    assert not ours.strips_leading_space


@pytest.mark.shared
@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("Once upon a time", [403, 407, 261, 378]),
        ("", []),
        ("\u20ac", [410, 503]),
        ("\u00a5", [410, 0xC2 + 3, 0xA5 + 3]),
    ],
)
def test_llama2c_ids(llama2c: Tokenizer, text: str, ids: list[int]) -> None:
    assert llama2c.encode(text) == ids
    assert llama2c.decode([1, *ids]) == text


@pytest.mark.shared
@given(text=st.text(max_size=60))
def test_llama2c_round_trip(llama2c: Tokenizer, text: str) -> None:
    assert llama2c.decode([1, *llama2c.encode(text)]) == text


@pytest.mark.shared
def test_llama2c_embedding(llama2c: Tokenizer) -> None:
    again = Tokenizer.from_bytes(llama2c.to_bytes())
    assert again.encode(_TEXT) == llama2c.encode(_TEXT)
    assert (again.vocab_size, again.bos, again.eos) == (512, 1, 2)


def test_own_embedding(ours: Tokenizer) -> None:
    again = Tokenizer.from_bytes(ours.to_bytes())
    assert again.encode(_TEXT) == ours.encode(_TEXT)
    assert (again.vocab_size, again.bos, again.eos) == (290, 1, 2)


@pytest.mark.parametrize("token", [-1, 290])
def test_refuses_foreign_ids(ours: Tokenizer, token: int) -> None:
    with pytest.raises(ValueError, match=f"wanted 0 to 289, found {token}"):
        ours.decode([token])


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"\xff\xfe", b'{"model": {"type": "WordPiece"}}', b'{"model": {"type": "BPE"}}'],
)
def test_refuses_other_json(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"wanted a byte-level BPE .*, found .*; save it"):
        Tokenizer.from_json(data)


def test_refuses_json_without_special_tokens(ours: Tokenizer) -> None:
    data = json.loads(ours.to_bytes()[8:])
    data["added_tokens"] = []
    data["model"]["vocab"]["<S>"] = data["model"]["vocab"].pop("<s>")
    with pytest.raises(ValueError, match="wanted"):
        Tokenizer.from_json(json.dumps(data).encode())


def test_refuses_damaged_embedding(ours: Tokenizer) -> None:
    for data in (b"", b"TRTOK2C\0", b"something else", ours.to_bytes()[:-5]):
        with pytest.raises(ValueError, match="wanted"):
            Tokenizer.from_bytes(data)


@pytest.mark.shared
@pytest.mark.parametrize(("cut", "vocab"), [(0, 511), (0, 513), (1, 512), (6220, 512)])
def test_refuses_wrong_llama2c_files(shared: Path, tmp_path: Path, cut: int, vocab: int) -> None:
    data = (shared / "checkpoints/tok512.bin").read_bytes()
    path = tmp_path / "tok.bin"
    path.write_bytes(data[: len(data) - cut])
    with pytest.raises(ValueError, match=rf"tok\.bin: wanted .*{vocab} tokens.*found"):
        Tokenizer.from_llama2c(path, vocab)
