"""Text from ids, one at a time: whole characters only, and nothing that may begin a stop string."""

import codecs
from collections.abc import Sequence

from .tokenizer import Tokenizer


class TextStream:
    """Decodes id after id; what was fed and flushed, joined, is `Tokenizer.decode` of the ids.

    Bytes that are not UTF-8 become U+FFFD as soon as that is certain. With `continues` the ids go on where a
    text has begun: the space that begins a llama2.c text is kept.
    """

    def __init__(self, tokenizer: Tokenizer, continues: bool = False) -> None:
        self._tokenizer = tokenizer
        self._strip = tokenizer.strips_leading_space and not continues
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, token: int) -> str:
        """The characters that `token` completes; ValueError where the tokenizer has no such id."""
        data = self._tokenizer.decode_bytes(token)
        if self._strip and data:
            self._strip = False
            data = data.removeprefix(b" ")
        return self._decoder.decode(data)

    def flush(self) -> str:
        """What is left of a character whose end has not come: U+FFFD, or nothing."""
        return self._decoder.decode(b"", final=True)


class StopStrings:
    """Ends a text before the first of some strings, wherever the pieces that are fed begin and end.

    The first is the one that ends first; of several that end together the longest. ValueError where one is
    empty.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        if isinstance(stops, str) or not all(stops):
            raise ValueError(f"stop strings: wanted a list of strings, none of them empty, found {stops!r}")
        self._stops = sorted(stops, key=len, reverse=True)
        self._held, self._stopped = "", False

    def feed(self, text: str) -> tuple[str, bool]:
        """(text to show, whether a stop string has come); an end that may begin a stop string is held."""
        if self._stopped:
            return "", True
        held = self._held + text
        ends = [(at + len(stop), at) for stop in self._stops if (at := held.find(stop)) >= 0]
        if ends:
            self._held, self._stopped = "", True
            return held[: min(ends)[1]], True
        longest = min(len(held), len(self._stops[0]) - 1) if self._stops else 0
        keep = next(n for n in range(longest, -1, -1) if n == 0 or self._begins(held[-n:]))
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep], False

    def flush(self) -> str:
        """What was held, when no more text comes."""
        held, self._held = self._held, ""
        return held

    def _begins(self, text: str) -> bool:
        return any(stop.startswith(text) for stop in self._stops)
