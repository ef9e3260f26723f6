"""Texts on the terminal: one streams as it comes, several are printed one after another at the end."""

from collections.abc import Collection, Sequence

from models.text_stream import StopStrings, TextStream
from models.tokenizer import Tokenizer

__all__ = ["Screen"]


class Screen:
    """Shows texts token by token, whole characters only, each up to the first of its stop strings.

    Parameters
    ----------
    tokenizer: of all texts.
    stops: strings that end a text; they are not shown.
    texts: how many there are.
    hidden: ids that are not text: those that end one.
    """

    def __init__(
        self, tokenizer: Tokenizer, stops: Sequence[str], texts: int, hidden: Collection[int] = ()
    ) -> None:
        self._hidden, self._alone = hidden, texts == 1
        self._streams = [TextStream(tokenizer) for _ in range(texts)]
        self._stops = [StopStrings(stops) for _ in range(texts)]
        self._stopped = [False] * texts
        self._given, self._shown = [""] * texts, [""] * texts

    def begin(self, number: int, ids: Sequence[int], generated: int = 0) -> None:
        """The prompt of a text, and of its ids the last that were generated before."""
        cut = len(ids) - generated
        self._given[number] = "".join(self._streams[number].feed(token) for token in ids[:cut])
        self._print(self._given[number])
        for token in ids[cut:]:
            self.show(number, token)

    def show(self, number: int, token: int) -> None:
        """One more id."""
        if token not in self._hidden:
            text, stopped = self._stops[number].feed(self._streams[number].feed(token))
            self._stopped[number] |= stopped
            self._add(number, text)

    def watch(self, number: int, _: int) -> bool:
        """Whether a stop string has come."""
        return self._stopped[number]

    def end(self) -> None:
        """All that was held back, and the end of the line."""
        for number, stream in enumerate(self._streams):
            text, _ = self._stops[number].feed(stream.flush())
            self._add(number, text + ("" if self._stopped[number] else self._stops[number].flush()))
        if self._alone:
            print(flush=True)
        else:
            for given, shown in zip(self._given, self._shown, strict=True):
                print(f"{given}{shown}", flush=True)

    def text(self, number: int) -> str:
        """What was generated, as shown."""
        return self._shown[number]

    def _add(self, number: int, text: str) -> None:
        self._shown[number] += text
        self._print(text)

    def _print(self, text: str) -> None:
        if self._alone and text:
            print(text, end="", flush=True)
