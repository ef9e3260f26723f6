"""The attention unit of the interpreter: two passes over K and V rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from hw.isa import Feed, Pass
from hw.machine import MachineConfig
from models import numerics

from .entries import Entry
from .interpreter_chunk import sequences
from .interpreter_tape import Tape, UsageError, span


@dataclass
class _Token:
    """What one token has seen: a part for each block of rows, and its sums."""

    #: int64 [kv heads, group, rows] and binary32 [kv heads, rows], a part for each block of K rows.
    scores: list[Tensor] = field(default_factory=list)
    scales: list[Tensor] = field(default_factory=list)
    #: int64 [kv heads, group, head size] and [kv heads, group].
    sums: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    total: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    #: V rows added.
    values: int = 0

    def exponent(self) -> Tensor:
        """int64 [kv heads]: of the largest value scale that the token sees."""
        # The zero stands for "nothing visible" and changes no maximum, as scales are not negative.
        scales = torch.nn.functional.pad(torch.cat(self.scales, -1), (0, 1))
        return numerics.value_exponent(numerics.absmax(scales))


class Attention:
    """State of the attention unit, all of it for each token of a tile.

    Members
    -------
    query: int64 [tile, max_query]; query_scale: binary32 [tile, max_heads].
    output: sums int64 [tokens, .., elements] and scales binary32 [tokens, ..] that no MAP has taken yet.
    """

    def __init__(self, machine: MachineConfig) -> None:
        self.machine = machine
        self.query = torch.zeros(machine.tile, machine.max_query, dtype=torch.int64)
        self.query_scale = torch.zeros(machine.tile, machine.max_heads)
        self.begin()

    def begin(self) -> None:
        """A step starts: nothing has been seen."""
        self.output: tuple[Tensor, Tensor] | None = None
        self._tokens = [_Token() for _ in range(self.machine.tile)]

    def take_output(self, n: int, live: int = 1) -> Tensor:
        """The attention output as binary32 [live, n], each head times its output scale."""
        found = None if self.output is None else (len(self.output[0]), self.output[0][0].numel())
        if self.output is None or found != (live, n):
            shown = "none" if found is None else f"{found[0]} x {found[1]}"
            raise UsageError(f"wanted {live} x {n} elements of attention output, found {shown}")
        (sums, scale), self.output = self.output, None
        return numerics.fmul(numerics.int_to_float(sums), scale.unsqueeze(-1)).reshape(live, n)

    def attend(
        self, f: dict[str, int], tape: Tape, stage: np.ndarray, entries: Sequence[Entry]
    ) -> tuple[int, int]:
        """ATTEND for the tokens of `entries`; returns saturated scores and integer products."""
        heads, size = f["kv_heads"], f["head_size"]
        if f["first"]:
            self._begin_pass(f, len(entries))
        saturated = seen = 0
        for data, tokens in self._blocks(f, tape, stage, entries):
            scales = 8 * heads if f["half"] == Pass.KEY else 0
            codes = data[:, scales : scales + heads * size].astype(np.int8).reshape(len(data), heads, size)
            codes = torch.from_numpy(codes).transpose(0, 1).double()  # [kv heads, rows, head size]
            pairs = data[:, :scales].copy().view(np.float32).reshape(len(data), scales // 8, 2)
            for t in tokens:
                if f["half"] == Pass.KEY:
                    saturated += self._keys(f, t, codes, torch.from_numpy(pairs))
                else:
                    self._values(t, codes)
            seen += len(data) * len(tokens)
        if f["half"] == Pass.VALUE and f["last"]:
            live = self._tokens[: len(entries)]
            sums, totals = (
                torch.stack([getattr(token, name) for token in live]) for name in ("sums", "total")
            )
            exponents = torch.stack([t.exponent() for t in live])[..., None].expand_as(totals)
            scale = numerics.output_scale(totals, exponents)
            self.output = sums.flatten(1, 2), scale.flatten(1)
        return saturated, seen * heads * f["group"] * size

    def _begin_pass(self, f: dict[str, int], live: int) -> None:
        if f["half"] == Pass.KEY:
            self._tokens = [_Token() for _ in self._tokens]
            return
        for token in self._tokens[:live]:
            token.values = 0
            token.total = torch.zeros(f["kv_heads"], f["group"], dtype=torch.int64)
            token.sums = torch.zeros(f["kv_heads"], f["group"], f["head_size"], dtype=torch.int64)

    def _blocks(
        self, f: dict[str, int], tape: Tape, stage: np.ndarray, entries: Sequence[Entry]
    ) -> Iterator[tuple[np.ndarray, range]]:
        """Rows (uint8 [rows, bytes]) and the tokens that see them."""
        row = f["kv_heads"] * f["head_size"] + (8 * f["kv_heads"] if f["half"] == Pass.KEY else 0)
        padded = -(-row // self.machine.bus_bytes) * self.machine.bus_bytes
        for tokens in sequences(entries):
            if f["feed"] == Feed.TAPE:
                older = entries[tokens.start].position
                yield tape.take(older * padded)[1].reshape(older, padded), tokens
            else:
                for t in tokens:
                    yield stage[t, int(f["half"]), span(stage, 0, row)][None], range(t, tokens.stop)

    def _keys(self, f: dict[str, int], t: int, codes: Tensor, pairs: Tensor) -> int:
        """Scores of K rows, whose scales are pairs [rows, kv heads, 2], for token t; how many saturated."""
        heads, group, token = f["kv_heads"], f["group"], self._tokens[t]
        query = self.query[t, span(self.query, 0, heads * group * f["head_size"])]
        query = query.reshape(heads, group, f["head_size"]).double()
        dot = torch.einsum("kgs,kts->kgt", query, codes).to(torch.int64)
        s_q = self.query_scale[t, span(self.query_scale, 0, heads * group)].reshape(heads, group, 1)
        score = numerics.attention_score(dot, s_q, pairs[..., 0].T[:, None])
        token.scores.append(score)
        token.scales.append(pairs[..., 1].T)
        held = sum(part.shape[-1] for part in token.scores) * heads * group
        if held > self.machine.score_words:
            raise UsageError(f"wanted at most {self.machine.score_words} scores of a token, found {held}")
        cores = self.machine.tile // self.machine.core_tokens
        others = (other.scores for other in self._tokens[t % cores :: cores])
        together = sum(part.shape[-1] for scores in others for part in scores) * heads * group
        if together > self.machine.core_scores:
            raise UsageError(
                f"wanted at most {self.machine.core_scores} scores of the tokens of an attention core, "
                f"found {together}"
            )
        rows = held // (heads * group)
        if rows > self.machine.max_context:
            raise UsageError(f"wanted at most {self.machine.max_context} rows of a token, found {rows}")
        return int((score.abs() == numerics.SCORE_LIMIT).sum())  # no binary32 times 2**16 is that odd number

    def _values(self, t: int, codes: Tensor) -> None:
        """Add value weights times values to the sums of token t."""
        token = self._tokens[t]
        if not token.scores:
            raise UsageError("wanted scores, found none: an ATTEND of half KEY comes before")
        if token.sums.shape[::2] != codes.shape[::2]:
            raise UsageError("wanted the heads of the first ATTEND of this pass, found others or no first")
        scores, scales = torch.cat(token.scores, -1), torch.cat(token.scales, -1)
        now = slice(token.values, token.values + codes.shape[1])
        token.values = now.stop
        if now.stop > scores.shape[-1]:
            raise UsageError(
                f"wanted values of the {scores.shape[-1]} tokens that have scores, found {now.stop}"
            )
        if codes.shape[1]:
            p = numerics.exp2(scores.amax(-1, keepdim=True) - scores[..., now])
            weight = numerics.value_weight(p, scales[:, None, now], token.exponent()[:, None, None])
            token.sums += torch.einsum("kgt,kts->kgs", weight.double(), codes).to(torch.int64)
            token.total += p.sum(-1)
