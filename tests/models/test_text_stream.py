"""Streams of text: the same text however it is cut into pieces."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.text_stream import StopStrings, TextStream
from models.tokenizer import Tokenizer
from models.train import train_tokenizer


@pytest.fixture(scope="module")
def ours() -> Tokenizer:
    """A small byte-level BPE: no character beyond ASCII is one id."""
    return Tokenizer.from_json(train_tokenizer(["Once upon a time there was a cat. " * 3], 280))


@pytest.fixture(scope="module")
def byte_ids(ours: Tokenizer) -> list[int]:
    """The id of each single byte."""
    return [next(i for i in range(3, 280) if ours.decode_bytes(i) == bytes([byte])) for byte in range(256)]


def streamed(stream: TextStream, ids: list[int]) -> list[str]:
    return [*(stream.feed(token) for token in ids), stream.flush()]


# --- characters -------------------------------------------------------------------------------------------


def test_characters_of_several_bytes_come_whole(ours, byte_ids):
    ids = [byte_ids[byte] for byte in "aé€😀b".encode()]
    assert streamed(TextStream(ours), ids) == ["a", "", "é", "", "", "€", "", "", "", "😀", "b", ""]


def test_what_is_not_utf8(ours, byte_ids):
    parts = streamed(TextStream(ours), [byte_ids[b] for b in (0xFF, 0xE2, 0x82, 0x41, 0xF0, 0x9F)])
    assert parts == ["\ufffd", "", "", "\ufffdA", "", "", "\ufffd"]


@given(st.one_of(st.binary(max_size=12), st.text(max_size=6).map(str.encode)))
def test_joined_is_decode(ours, byte_ids, data):
    ids = [byte_ids[byte] for byte in data]
    parts = streamed(TextStream(ours), ids)
    assert "".join(parts) == ours.decode(ids)
    whole = "".join(parts[:-1])
    assert data.decode(errors="replace").startswith(whole)


def test_beginnings_and_ends_vanish(ours):
    ids = ours.encode("a cat")
    assert "".join(streamed(TextStream(ours), [1, *ids, 2])) == "a cat"
    with pytest.raises(ValueError, match="wanted 0 to 279, found 280"):
        TextStream(ours).feed(280)


@pytest.mark.shared
@given(st.text(max_size=20), st.booleans())
def test_llama2c(shared, text, continues):
    tokenizer = Tokenizer.from_llama2c(shared / "checkpoints/tok512.bin", 512)
    parts = streamed(TextStream(tokenizer, continues), [1, *tokenizer.encode(text)])
    assert "".join(parts) == (" " + text if continues and text else text)


# --- stop strings -----------------------------------------------------------------------------------------


def pieces(stream: StopStrings, texts: list[str]) -> tuple[str, bool]:
    """Everything that is shown, and whether it stopped."""
    shown, stopped = "", False
    for text in texts:
        more, stopped = stream.feed(text)
        shown += more
    return shown + stream.flush(), stopped


def wanted(text: str, stops: list[str]) -> tuple[str, bool]:
    """By trial of every end, then every beginning."""
    for end in range(len(text) + 1):
        for begin in range(end):
            if text[begin:end] in stops:
                return text[:begin], True
    return text, False


def test_holds_back_what_may_be_a_stop():
    stream = StopStrings(["<|end|>", "\nUser:"])
    found = [stream.feed(text) for text in ("Hi <", "3 <|e", "nd", "! \n", "Us", "er: x", "more")]
    assert found == [
        ("Hi ", False), ("<3 ", False), ("", False), ("<|end! ", False), ("", False), ("", True), ("", True)
    ]  # fmt: skip
    assert stream.flush() == ""


def test_flush_gives_what_was_held():
    stream = StopStrings(["###"])
    assert (stream.feed("a##"), stream.flush(), stream.flush()) == (("a", False), "##", "")


def test_the_first_to_end_stops():
    for cut in (["abcd"], list("abcd"), ["abc", "d"]):
        assert pieces(StopStrings(["bcd", "c"]), cut) == ("ab", True)
        assert pieces(StopStrings(["c", "bc"]), cut) == ("a", True)
        assert pieces(StopStrings([]), cut) == ("abcd", False)


@given(
    st.lists(st.text("ab", max_size=4), max_size=8),
    st.lists(st.text("abc", min_size=1, max_size=4), max_size=4),
)
def test_any_cut(texts, stops):
    assert pieces(StopStrings(stops), texts) == wanted("".join(texts), stops)


@given(st.text("ab", max_size=8), st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3))
def test_nothing_is_held_in_vain(text, stops):
    stream = StopStrings(stops)
    shown, stopped = stream.feed(text)
    held = stream.flush()
    if not stopped:
        assert shown + held == text
        begins = {stop[:n] for stop in stops for n in range(1, len(stop))}
        assert held == max((text[i:] for i in range(len(text)) if text[i:] in begins), key=len, default="")


@pytest.mark.parametrize("stops", [[""], ["a", ""], "ab"])
def test_refuses_empty_stops(stops):
    with pytest.raises(ValueError, match=r"wanted a list of strings, none of them empty, found"):
        StopStrings(stops)


def test_cuts_are_many():
    """Every cut of one text into pieces."""
    text, stops = "xx<<e>y<e>z", ["<e>"]
    for cuts in itertools.product((False, True), repeat=len(text) - 1):
        at = [0, *(i + 1 for i, cut in enumerate(cuts) if cut), len(text)]
        texts = [text[a:b] for a, b in itertools.pairwise(at)]
        assert pieces(StopStrings(stops), texts) == ("xx<", True)
