"""Tokenizers: byte-level BPE (our own model, HF ``tokenizers`` JSON) and llama2.c ``tok*.bin`` files.

Neither adds BOS: the caller does.
"""

import json
import struct
from pathlib import Path
from typing import Protocol, Self

from tokenizers import Tokenizer as HFTokenizer

_MAGIC_LLAMA2C = b"TRTOK2C\0"
_MAGIC_JSON = b"TRTOKJS\0"


class _Scheme(Protocol):
    """What a kind of tokenizer must offer; ids are below len(pieces)."""

    pieces: list[bytes]
    specials: dict[str, int]

    def encode(self, text: str) -> list[int]: ...

    def to_bytes(self) -> bytes: ...


class Tokenizer:
    """Text to token ids and back.

    Members
    -------
    vocab_size: number of ids.
    bos, eos: ids that begin and end a sequence (eos None where there is none).
    """

    def __init__(self, scheme: _Scheme, bos: int, eos: int | None, strip_leading_space: bool) -> None:
        self._scheme, self.bos, self.eos = scheme, bos, eos
        self._strip = strip_leading_space

    @property
    def vocab_size(self) -> int:
        """Number of token ids."""
        return len(self._scheme.pieces)

    @property
    def special_tokens(self) -> dict[str, int]:
        """Name to id of the special tokens, which ``encode`` never yields."""
        return dict(self._scheme.specials)

    @property
    def strips_leading_space(self) -> bool:
        """Whether the text of a sequence is without the space its first id begins with (llama2.c)."""
        return self._strip

    def encode(self, text: str) -> list[int]:
        """The ids of ``text``, without BOS or EOS; special names inside the text are ordinary text."""
        return self._scheme.encode(text)

    def decode_bytes(self, token: int) -> bytes:
        """The raw bytes of one id (empty for BOS and EOS), for streaming: a character may span several ids.

        For llama2.c vocabularies the leading space that belongs to the first id after BOS is the
        caller's to strip (``decode`` does).
        """
        if not 0 <= token < self.vocab_size:
            raise ValueError(
                f"token id: wanted 0 to {self.vocab_size - 1}, found {token}; "
                f"is this the tokenizer of another model?"
            )
        return b"" if token in (self.bos, self.eos) else self._scheme.pieces[token]

    def decode(self, ids: list[int]) -> str:
        """The text of ``ids``; BOS and EOS vanish, bytes that are not UTF-8 become U+FFFD."""
        data = b"".join(self.decode_bytes(token) for token in ids)
        if self._strip and data.startswith(b" "):
            data = data[1:]
        return data.decode("utf-8", errors="replace")

    def to_bytes(self) -> bytes:
        """Everything needed to rebuild this tokenizer with ``from_bytes``."""
        return self._scheme.to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Inverse of ``to_bytes``; ValueError where ``data`` is something else or cut short."""
        if data.startswith(_MAGIC_JSON):
            return cls.from_json(data[len(_MAGIC_JSON) :])
        if data.startswith(_MAGIC_LLAMA2C) and len(data) >= 12:
            (vocab,) = struct.unpack_from("<i", data, 8)
            return cls(_Llama2c(data[12:], vocab, "embedded tokenizer"), 1, 2, True)
        raise ValueError(
            f"embedded tokenizer: wanted {_MAGIC_JSON!r} or {_MAGIC_LLAMA2C!r} at its start, found "
            f"{data[:8]!r}; write it with Tokenizer.to_bytes"
        )

    @classmethod
    def from_json(cls, source: Path | str | bytes) -> Self:
        """A byte-level BPE in the ``tokenizers`` JSON form, from a path or from the JSON's bytes."""
        where = "tokenizer JSON" if isinstance(source, bytes) else str(source)
        scheme = _ByteBPE(source if isinstance(source, bytes) else Path(source).read_bytes(), where)
        return cls(scheme, scheme.special("<s>", where), scheme.special("</s>", where), False)

    @classmethod
    def from_llama2c(cls, path: Path | str, vocab_size: int) -> Self:
        """A llama2.c ``tok*.bin`` with ``vocab_size`` tokens (the file itself does not say how many)."""
        return cls(_Llama2c(Path(path).read_bytes(), vocab_size, str(path)), 1, 2, True)


class _ByteBPE:
    """Byte-level BPE: GPT-2's printable alphabet stands for the 256 bytes."""

    def __init__(self, data: bytes, where: str) -> None:
        try:
            model = json.loads(data)["model"]
            if model["type"] != "BPE":
                raise ValueError(f"a model of type {model['type']!r}")
            self._inner = HFTokenizer.from_str(data.decode("utf-8"))
        except Exception as error:  # the tokenizers library raises bare Exception
            raise ValueError(
                f"{where}: wanted a byte-level BPE in the `tokenizers` JSON form, found "
                f"{type(error).__name__}: {error}; save it with tokenizers.Tokenizer.save"
            ) from error
        self._inner.no_padding()
        self._inner.no_truncation()
        self._inner.encode_special_tokens = True
        self._data = data
        added = self._inner.get_added_tokens_decoder()
        self._names = {number: token.content for number, token in added.items() if token.special}
        self.specials = {name: number for number, name in self._names.items()}
        byte_of = {char: byte for byte, char in enumerate(byte_alphabet())}
        self.pieces = []
        for token in range(self._inner.get_vocab_size()):
            piece = self._inner.id_to_token(token)
            if piece is None:
                raise ValueError(
                    f"{where}: wanted ids without gaps, found none for id {token}; train it again"
                )
            if token in added:
                self.pieces.append(piece.encode())
            elif all(char in byte_of for char in piece):
                self.pieces.append(bytes(byte_of[char] for char in piece))
            else:
                raise ValueError(
                    f"{where}: wanted byte-level pieces, found id {token} = {piece!r}; "
                    f"train it with pre_tokenizers.ByteLevel"
                )

    def special(self, name: str, where: str) -> int:
        """The id of a special token."""
        token = self._inner.token_to_id(name)
        if token is None:
            raise ValueError(
                f"{where}: wanted a token {name!r}, found none; train it with special tokens <unk>, <s>, </s>"
            )
        return token

    def encode(self, text: str) -> list[int]:
        ids = self._inner.encode(text, add_special_tokens=False).ids
        if self._names.keys().isdisjoint(ids):
            return ids
        # Merges can spell a special name where it occurred in the text they were trained on.
        return [part for token in ids for part in self._spelt(token)]

    def _spelt(self, token: int) -> list[int]:
        """The id itself, or the ids of the bytes of a special token's name."""
        if token not in self._names:
            return [token]
        alphabet, name = byte_alphabet(), self._names[token].encode()
        found = (self._inner.token_to_id(alphabet[byte]) for byte in name)
        parts = [part for part in found if part is not None]
        if len(parts) < len(name):
            raise ValueError(
                f"tokenizer: wanted an id for each byte of {self._names[token]!r} as ordinary text, found "
                f"none for some; train it with the whole byte alphabet"
            )
        return parts

    def to_bytes(self) -> bytes:
        return _MAGIC_JSON + self._data


def byte_alphabet() -> list[str]:
    """GPT-2's character for each byte 0..255 (printable Latin-1 as itself, the others from U+0100 on)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return [chr(byte) if byte in shown else chr(256 + hidden.index(byte)) for byte in range(256)]


class _Llama2c:
    """llama2.c's tokenizer (run.c, ``encode``): per-code-point look-up, byte fallback, best-score merges.

    File: int32 longest piece, then per token float32 score, int32 length, bytes. Ids 3..258 are bytes.
    """

    def __init__(self, data: bytes, vocab: int, where: str) -> None:
        self._data, self._vocab = data, vocab
        self.specials = {"<s>": 1, "</s>": 2}
        self.pieces: list[bytes] = []
        self._scores: list[float] = []
        at = 4
        for token in range(vocab):
            length = -1
            if at + 8 <= len(data):
                score, length = struct.unpack_from("<fi", data, at)
            if length < 0 or at + 8 + length > len(data):
                raise ValueError(
                    f"{where}: wanted {vocab} tokens in llama2.c's tok.bin form, found a broken or "
                    f"missing entry for id {token} at byte {at} of {len(data)}; fetch the file "
                    f"again, or pass the vocabulary size of the model"
                )
            self._scores.append(score)
            self.pieces.append(data[at + 8 : at + 8 + length])
            at += 8 + length
        if at != len(data):
            raise ValueError(
                f"{where}: wanted the file to end after {vocab} tokens (byte {at}), found {len(data)} "
                f"bytes; pass the vocabulary size of the model it belongs to"
            )
        pieces = list(enumerate(self.pieces))
        self._ids = {piece: token for token, piece in reversed(pieces) if token not in self.specials.values()}
        for token, piece in enumerate(self.pieces):
            if len(piece) == 6 and piece.startswith(b"<0x") and piece.endswith(b">"):
                self.pieces[token] = bytes([int(piece[3:5], 16)])

    def encode(self, text: str) -> list[int]:
        if not text:
            return []
        ids: list[int] = []
        for char in " " + text:
            piece = char.encode()
            found = self._ids.get(piece)
            ids += [found] if found is not None else [byte + 3 for byte in piece]
        if ids and max(ids) >= len(self.pieces):
            raise ValueError(
                f"tokenizer: wanted ids 3 to 258 for single bytes, found {len(self.pieces)} ids; "
                f"take a tokenizer with byte fallback"
            )
        while True:
            best, where = float("-inf"), -1
            for index in range(len(ids) - 1):
                merged = self._ids.get(self.pieces[ids[index]] + self.pieces[ids[index + 1]])
                if merged is not None and self._scores[merged] > best:
                    best, where = self._scores[merged], index
            if where < 0:
                return ids
            ids[where : where + 2] = [self._ids[self.pieces[ids[where]] + self.pieces[ids[where + 1]]]]

    def to_bytes(self) -> bytes:
        return _MAGIC_LLAMA2C + struct.pack("<i", self._vocab) + self._data
