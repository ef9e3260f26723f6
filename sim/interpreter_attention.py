"""The attention unit of the interpreter: two passes over K and V rows."""

import numpy as np
import torch
from torch import Tensor

from hw.isa import Feed, Pass
from hw.machine import MachineConfig
from models import numerics

from .interpreter_tape import Tape, UsageError, span


class Attention:
    """State of the attention unit.

    Members
    -------
    query: int64 [max_query]; query_scale: binary32 [max_heads].
    output: sums int64 [heads, head_size] and scales binary32 [heads] that no MAP has taken yet.
    """

    def __init__(self, machine: MachineConfig) -> None:
        self.machine = machine
        self.query = torch.zeros(machine.max_query, dtype=torch.int64)
        self.query_scale = torch.zeros(machine.max_heads)
        self.begin()

    def begin(self) -> None:
        """A token starts: nothing has been seen."""
        self.output: tuple[Tensor, Tensor] | None = None
        self._scores: list[Tensor] = []
        self._scales: list[Tensor] = []
        self._sums = self._total = torch.zeros(0, dtype=torch.int64)
        self._seen = 0

    def take_output(self, n: int) -> Tensor:
        """The attention output as binary32 [n], each head times its output scale."""
        if self.output is None or self.output[0].numel() != n:
            found = "none" if self.output is None else str(self.output[0].numel())
            raise UsageError(f"wanted {n} elements of attention output, found {found}")
        (sums, scale), self.output = self.output, None
        return numerics.fmul(numerics.int_to_float(sums), scale.unsqueeze(-1)).reshape(-1)

    def attend(self, f: dict[str, int], tape: Tape, stage: np.ndarray, position: int) -> tuple[int, int]:
        """ATTEND; returns saturated scores and integer products."""
        heads, row = f["kv_heads"], f["kv_heads"] * f["head_size"]
        scales = 8 * heads if f["half"] == Pass.KEY else 0
        if f["feed"] == Feed.STAGE:
            tokens = 1
            data = stage[int(f["half"]), : scales + row][None]
        else:
            tokens, padded = position, -(-(scales + row) // self.machine.bus_bytes) * self.machine.bus_bytes
            data = tape.take(tokens * padded)[1].reshape(tokens, padded)
        codes = data[:, scales : scales + row].astype(np.int8).reshape(tokens, heads, f["head_size"])
        codes = torch.from_numpy(codes).transpose(0, 1).double()  # [kv heads, tokens, head size]
        saturated = 0
        if f["half"] == Pass.KEY:
            pairs = torch.from_numpy(data[:, :scales].copy().view(np.float32).reshape(tokens, heads, 2))
            saturated = self._keys(f, codes, pairs[..., 0].T, pairs[..., 1].T)
        else:
            self._values(f, codes)
        return saturated, tokens * heads * f["group"] * f["head_size"]

    def _keys(self, f: dict[str, int], codes: Tensor, s_k: Tensor, s_v: Tensor) -> int:
        """Append scores [kv heads, group, tokens] and value scales [kv heads, tokens]."""
        if f["first"]:
            self._scores, self._scales = [], []
        heads, group = f["kv_heads"], f["group"]
        query = self.query[span(self.query, 0, heads * group * f["head_size"])]
        query = query.reshape(heads, group, f["head_size"]).double()
        dot = torch.einsum("kgs,kts->kgt", query, codes).to(torch.int64)
        s_q = self.query_scale[span(self.query_scale, 0, heads * group)].reshape(heads, group, 1)
        score = numerics.attention_score(dot, s_q, s_k[:, None])
        self._scores.append(score)
        self._scales.append(s_v)
        held = sum(part.shape[-1] for part in self._scores) * heads * group
        if held > self.machine.score_words:
            raise UsageError(f"wanted at most {self.machine.score_words} scores, found {held}")
        return int((score.abs() == numerics.SCORE_LIMIT).sum())  # no binary32 times 2**16 is that odd number

    def _values(self, f: dict[str, int], codes: Tensor) -> None:
        """Add value weights times values to the sums [kv heads, group, head size]."""
        if not self._scores:
            raise UsageError("wanted scores, found none: an ATTEND of half KEY comes before")
        scores, scales = torch.cat(self._scores, -1), torch.cat(self._scales, -1)
        # The zero stands for "nothing visible" and changes no maximum, as scales are not negative.
        exponent = numerics.value_exponent(
            numerics.absmax(torch.nn.functional.pad(scales, (0, 1)))
        )  # [kv heads]
        if f["first"]:
            self._seen = 0
            self._sums = torch.zeros(f["kv_heads"], f["group"], f["head_size"], dtype=torch.int64)
            self._total = torch.zeros(f["kv_heads"], f["group"], dtype=torch.int64)
        now = slice(self._seen, self._seen + codes.shape[1])
        self._seen = now.stop
        if self._seen > scores.shape[-1]:
            raise UsageError(
                f"wanted values of the {scores.shape[-1]} tokens that have scores, found {self._seen}"
            )
        if codes.shape[1]:
            p = numerics.exp2(scores.amax(-1, keepdim=True) - scores[..., now])
            weight = numerics.value_weight(p, scales[:, None, now], exponent[:, None, None])
            self._sums += torch.einsum("kgt,kts->kgs", weight.double(), codes).to(torch.int64)
            self._total += p.sum(-1)
        if f["last"]:
            scale = numerics.output_scale(self._total, exponent[:, None].expand_as(self._total))
            self.output = (self._sums.reshape(-1, f["head_size"]), scale.reshape(-1))
