"""The execution units of the interpreter: their memories, and what each instruction does to them."""

from collections import deque

import numpy as np
import torch
from torch import Tensor

from hw.isa import SCALARS, STATISTICS, Dest, Feed, Function, Pass, Payload, Source, Target
from hw.machine import MachineConfig
from models import numerics


class UsageError(ValueError):
    """An instruction that means nothing here; the interpreter adds which one it was."""


class Tape:
    """Fetched bytes in order. Memory is read when bytes are taken, as a view where they lie together."""

    def __init__(self, memory: np.ndarray) -> None:
        self._memory, self._runs, self.left = memory, deque[tuple[int, int]](), 0

    def clear(self) -> None:
        """Forget everything fetched."""
        self._runs.clear()
        self.left = 0

    def append(self, start: int, size: int) -> None:
        """Bytes [start, start + size) of memory come next."""
        if size:
            self._runs.append((start, size))
            self.left += size

    def take(self, size: int) -> tuple[int, np.ndarray]:
        """The next `size` bytes (uint8), and the address of the first."""
        if size > self.left:
            raise UsageError(f"wanted {size} bytes of tape, found {self.left} fetched before it")
        self.left -= size
        address, parts = self._runs[0][0] if size else 0, []
        while size:
            start, length = self._runs.popleft()
            part = min(size, length)
            parts.append(self._memory[start : start + part])
            if part < length:
                self._runs.appendleft((start + part, length - part))
            size -= part
        return address, parts[0] if len(parts) == 1 else np.concatenate(parts or [self._memory[:0]])


class Units:
    """State of matmul, vector, attention and store units.

    Members (names as in `hw/isa.py`)
    -------
    act, const, scalar: binary32. acc, q: int64. stat_sum, stat_max, stat_saturated: statistics slots.
    query, query_scale; stage: uint8 [2, stage_bytes] (K row, V row); logits: of the last HEAD.
    """

    def __init__(self, machine: MachineConfig) -> None:
        self.machine = machine
        self.act, self.const = torch.zeros(machine.activation_words), torch.zeros(machine.constant_words)
        self.scalar = torch.zeros(SCALARS)
        self.acc = torch.zeros(machine.accumulator_rows, dtype=torch.int64)
        self.q = torch.zeros(machine.quantised_words, dtype=torch.int64)
        self.stat_sum = torch.zeros(STATISTICS, dtype=torch.int64)
        self.stat_max, self.stat_saturated = torch.zeros(STATISTICS), torch.zeros(STATISTICS, dtype=torch.bool)
        self.query = torch.zeros(machine.max_query, dtype=torch.int64)
        self.query_scale = torch.zeros(machine.max_heads)
        self.stage = np.zeros((2, machine.stage_bytes), np.uint8)
        self.logits = torch.zeros(0)
        self._weights: dict[tuple[int, int, int], tuple[bytes, Tensor, Tensor]] = {}
        self.begin()

    def begin(self) -> None:
        """A token starts: no stream is open."""
        self._emitted: Tensor | None = None
        self._output: tuple[Tensor, Tensor] | None = None
        self._scores: list[Tensor] = []
        self._value_scales: list[Tensor] = []

    def leftovers(self) -> str:
        """What a stream still holds at the end of a token."""
        if self._emitted is not None:
            return "HEAD sent logits that no STORE took: the machine would never finish"
        return "attention output that no MAP took" if self._output is not None else ""

    # --- matmul -------------------------------------------------------------------------------------------

    def _matrix(self, taken: tuple[int, np.ndarray], rows: int, k: int, trits: bool) -> tuple[Tensor, Tensor]:
        """Weights binary64 [rows, k] and row scales from tape bytes, decoded once while the bytes stay the same."""
        address, data = taken
        raw = data.tobytes()
        known = self._weights.get((address, rows, k))
        if known is None or known[0] != raw:
            scales = torch.zeros(0)
            if trits:
                columns = -(-k // numerics.TRITS_PER_BYTE)
                packed, at = np.empty((rows, columns), np.uint8), 0
                for first in range(0, columns, self.machine.tables):
                    width = min(self.machine.tables, columns - first)
                    part = data[at : at + rows * width]
                    packed[:, first : first + width] = part.reshape(rows, width)
                    at += rows * width
                if packed.max(initial=0) >= 3**numerics.TRITS_PER_BYTE:
                    raise UsageError(f"wanted trit bytes 0 to 242, found {packed.max()}")
                weight = numerics.unpack_trits(torch.from_numpy(packed.astype(np.int64)), k)
            else:
                row = data.reshape(rows, k + 4)
                weight = torch.from_numpy(row[:, :k].astype(np.int8))
                scales = torch.from_numpy(row[:, k:].copy().view(np.float32).reshape(-1))
            known = self._weights[address, rows, k] = (raw, weight.double(), scales)
        return known[1], known[2]

    def matmul(self, f: dict[str, int], tape: Tape) -> None:
        """MATMUL."""
        rows, k = f["rows"], f["k"]
        weight, _ = self._matrix(tape.take(rows * -(-k // numerics.TRITS_PER_BYTE)), rows, k, True)
        self.acc[_span(self.acc, f["acc"], rows)] = numerics.integer_linear(self.q[_span(self.q, f["q"], k)], weight)

    def head(self, f: dict[str, int], tape: Tape, emit: bool) -> int:
        """HEAD; returns the argmax."""
        rows, k = f["rows"], f["k"]
        codes, scales = self._matrix(tape.take(rows * (k + 4)), rows, k, False)
        acc = numerics.integer_linear(self.q[_span(self.q, f["q"], k)], codes)
        self.logits = numerics.fmul(numerics.dequantise(acc, self.scalar[f["scale"]]), scales)
        self._emitted = self.logits if emit else None
        return numerics.argmax(self.logits)

    # --- vector -------------------------------------------------------------------------------------------

    def map(self, f: dict[str, int], tape: Tape) -> None:
        """MAP."""
        n, step = f["n"], f["segment"] or f["n"]
        z = self._operand(f, n, tape)
        if f["scaled"]:
            z = numerics.fmul(z, numerics.fmul(self.scalar[f["s1"]], self.scalar[f["s2"]]))
        function = Function(f["function"])
        if function == Function.ROPE:
            row = self.const[_span(self.const, f["c"], step)].repeat(-(-n // step))[:n]
            z = numerics.rope(z, row)
        elif function != Function.COPY:
            b = self.act[_span(self.act, f["b"], n)]
            z = {Function.ADD: numerics.fadd, Function.MULTIPLY: numerics.fmul,
                 Function.SILU_MULTIPLY: lambda x, y: numerics.fmul(numerics.silu(x), y)}[function](z, b)  # fmt: skip
        memory = {Dest.ACTIVATION: self.act, Dest.CONSTANT: self.const, Dest.SCALAR: self.scalar}[Dest(f["dest"])]
        if f["statistics"]:
            self._gather(f, z, step)
        memory[_span(memory, f["d"], n)] = z

    def _operand(self, f: dict[str, int], n: int, tape: Tape) -> Tensor:
        """The first operand of MAP, binary32 [n]."""
        source = Source(f["source"])
        if source == Source.ACTIVATION:
            return self.act[_span(self.act, f["a"], n)].clone()
        if source == Source.ACCUMULATOR:
            return numerics.int_to_float(self.acc[_span(self.acc, f["a"], n)])
        if source == Source.TAPE:
            return torch.from_numpy(np.frombuffer(tape.take(4 * n)[1].tobytes(), np.float32).copy())
        if self._output is None or self._output[0].numel() != n:
            found = "none" if self._output is None else str(self._output[0].numel())
            raise UsageError(f"wanted {n} elements of attention output, found {found}")
        (acc, scale), self._output = self._output, None
        return numerics.fmul(numerics.int_to_float(acc), scale.unsqueeze(-1)).reshape(-1)

    def _gather(self, f: dict[str, int], z: Tensor, step: int) -> None:
        """Statistics of z by segments of `step` elements."""
        scaled = numerics.fmul(z, self.const[_span(self.const, f["c"], f["n"])]) if f["gain"] else z
        where = _span(self.stat_sum, f["stat"], -(-f["n"] // step))
        parts = _segments(z, step)
        self.stat_sum[where], self.stat_saturated[where] = numerics.square_sum(parts, f["grid"])
        self.stat_max[where] = numerics.absmax(_segments(scaled, step))

    def quantise(self, f: dict[str, int], tape: Tape) -> None:
        """QUANTISE."""
        n, step, target = f["n"], f["segment"] or f["n"], Target(f["target"])
        y = self.act[_span(self.act, f["a"], n)]
        if f["gain"]:
            y = numerics.fmul(y, self.const[_span(self.const, f["c"], n)])
        maximum = self.stat_max[_span(self.stat_max, f["stat"], -(-n // step))]
        levels = numerics.INT16_LEVELS if target == Target.QUERY else numerics.INT8_LEVELS
        codes = numerics.quantise(_segments(y, step), maximum, levels).reshape(-1)[:n]
        scale = numerics.live_scale(maximum)
        if target == Target.MATMUL:
            self.q[_span(self.q, f["d"], n)] = codes
        elif target == Target.QUERY:
            self.query[_span(self.query, f["d"], n)] = codes
            heads = _span(self.query_scale, 0, len(maximum))
            self.query_scale[heads] = numerics.fmul(scale, self.scalar[f["s1"]])
        else:
            value = int(target == Target.VALUE)
            row, scales = self.stage[value], self.stage[0, : 8 * len(maximum)]
            row[_span(row, f["d"], n)] = codes.to(torch.int8).numpy().view(np.uint8)
            scales.reshape(-1, 2, 4)[:, value] = scale.numpy().view(np.uint8).reshape(-1, 4)

    def norm(self, f: dict[str, int]) -> bool:
        """NORM; True where the run ends because the sum of squares saturated."""
        maximum, slot = self.stat_max[f["stat"]], f["stat"]
        if not f["normalise"]:
            self.scalar[f["d"]] = numerics.live_scale(maximum)
            return False
        total, c, eps = self.stat_sum[slot], self.scalar[f["c"]], self.scalar[f["eps"]]
        self.scalar[f["d"]] = numerics.norm_scale(maximum, total, c, eps)
        return bool(self.stat_saturated[slot])

    # --- attention ----------------------------------------------------------------------------------------

    def attend(self, f: dict[str, int], tape: Tape, position: int) -> tuple[int, int]:
        """ATTEND; returns saturated scores and integer products."""
        heads, row = f["kv_heads"], f["kv_heads"] * f["head_size"]
        scales = 8 * heads if f["half"] == Pass.KEY else 0
        if f["feed"] == Feed.STAGE:
            tokens = 1
            data = self.stage[int(f["half"]), : scales + row][None]
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
            self._scores, self._value_scales = [], []
        heads, group = f["kv_heads"], f["group"]
        query = self.query[_span(self.query, 0, heads * group * f["head_size"])]
        query = query.reshape(heads, group, f["head_size"]).double()
        dot = torch.einsum("kgs,kts->kgt", query, codes).to(torch.int64)
        s_q = self.query_scale[_span(self.query_scale, 0, heads * group)].reshape(heads, group, 1)
        score = numerics.attention_score(dot, s_q, s_k[:, None])
        self._scores.append(score)
        self._value_scales.append(s_v)
        held = sum(part.shape[-1] for part in self._scores) * heads * group
        if held > self.machine.score_words:
            raise UsageError(f"wanted at most {self.machine.score_words} scores, found {held}")
        self._seen = 0
        return int((score.abs() == numerics.SCORE_LIMIT).sum())  # no binary32 times 2**16 is that odd number

    def _values(self, f: dict[str, int], codes: Tensor) -> None:
        """Add value weights times values to the sums [kv heads, group, head size]."""
        scores, scales = torch.cat(self._scores, -1), torch.cat(self._value_scales, -1)
        exponent = numerics.value_exponent(numerics.absmax(scales))  # [kv heads]
        if f["first"]:
            self._seen = 0
            self._sums = torch.zeros(f["kv_heads"], f["group"], f["head_size"], dtype=torch.int64)
            self._total = torch.zeros(f["kv_heads"], f["group"], dtype=torch.int64)
        now = slice(self._seen, self._seen + codes.shape[1])
        self._seen = now.stop
        if self._seen > scores.shape[-1]:
            raise UsageError(f"wanted values of the {scores.shape[-1]} tokens that have scores, found {self._seen}")
        p = numerics.exp2(scores.amax(-1, keepdim=True) - scores[..., now])
        weight = numerics.value_weight(p, scales[:, None, now], exponent[:, None, None])
        self._sums += torch.einsum("kgt,kts->kgs", weight.double(), codes).to(torch.int64)
        self._total += p.sum(-1)
        if f["last"]:
            scale = numerics.output_scale(self._total, exponent[:, None].expand_as(self._total))
            self._output = (self._sums.reshape(-1, f["head_size"]), scale.reshape(-1))

    # --- store --------------------------------------------------------------------------------------------

    def payload(self, payload: Payload, size: int) -> np.ndarray:
        """The bytes that a STORE writes."""
        if payload != Payload.LOGITS:
            return self.stage[int(payload == Payload.VALUE), :size]
        if self._emitted is None or 4 * self._emitted.numel() != size:
            found = "none" if self._emitted is None else str(4 * self._emitted.numel())
            raise UsageError(f"wanted {size} bytes of logits, found {found}: the machine would never finish")
        logits, self._emitted = self._emitted, None
        return logits.numpy().view(np.uint8)


def _span(memory: Tensor | np.ndarray, first: int, size: int) -> slice:
    """Elements [first, first + size) of an on-chip memory."""
    if first + size > len(memory):
        raise UsageError(f"wanted elements {first} to {first + size - 1} of an on-chip memory of {len(memory)}")
    return slice(first, first + size)


def _segments(x: Tensor, step: int) -> Tensor:
    """[segments, step], the last one filled up with zeros, which change neither sum nor absmax."""
    return torch.nn.functional.pad(x, (0, -len(x) % step)).reshape(-1, step)
