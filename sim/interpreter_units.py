"""The matmul, vector and store units of the interpreter: their memories, and what instructions do to them."""

import numpy as np
import torch
from torch import Tensor

from hw.isa import SCALARS, STATISTICS, Dest, Function, Payload, Source, Target
from hw.machine import MachineConfig
from models import numerics

from .interpreter_attention import Attention
from .interpreter_tape import Tape, UsageError, span


class Units:
    """State of matmul, vector, attention and store units.

    Members (names as in `hw/isa.py`)
    -------
    act, const, scalar: binary32. acc, q: int64. stat_sum, stat_max, stat_saturated: statistics slots.
    attention: the attention unit. stage: uint8 [2, stage_bytes] (K row, V row). logits: of the last HEAD.
    """

    def __init__(self, machine: MachineConfig) -> None:
        self.machine = machine
        self.act, self.const = torch.zeros(machine.activation_words), torch.zeros(machine.constant_words)
        self.scalar = torch.zeros(SCALARS)
        self.acc = torch.zeros(machine.accumulator_rows, dtype=torch.int64)
        self.q = torch.zeros(machine.quantised_words, dtype=torch.int64)
        self.stat_sum = torch.zeros(STATISTICS, dtype=torch.int64)
        self.stat_max, self.stat_saturated = (
            torch.zeros(STATISTICS),
            torch.zeros(STATISTICS, dtype=torch.bool),
        )
        self.attention = Attention(machine)
        self.stage = np.zeros((2, machine.stage_bytes), np.uint8)
        self.logits = torch.zeros(0)
        self._weights: dict[tuple[int, int, int], tuple[bytes, Tensor, Tensor]] = {}
        self.begin()

    def begin(self) -> None:
        """A token starts: no stream is open."""
        self._emitted: Tensor | None = None
        self.attention.begin()

    def leftovers(self) -> str:
        """What a stream still holds at the end of a token."""
        if self._emitted is not None:
            return "HEAD sent logits that no STORE took: the machine would never finish"
        return "attention output that no MAP took" if self.attention.output is not None else ""

    # --- matmul -------------------------------------------------------------------------------------------

    def _matrix(self, taken: tuple[int, np.ndarray], rows: int, k: int, trits: bool) -> tuple[Tensor, Tensor]:
        """Weights binary64 [rows, k] and row scales from tape bytes, decoded again only if bytes change."""
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
        self.acc[span(self.acc, f["acc"], rows)] = numerics.integer_linear(
            self.q[span(self.q, f["q"], k)], weight
        )

    def head(self, f: dict[str, int], tape: Tape, emit: bool) -> int:
        """HEAD; returns the argmax."""
        rows, k = f["rows"], f["k"]
        codes, scales = self._matrix(tape.take(rows * (k + 4)), rows, k, False)
        acc = numerics.integer_linear(self.q[span(self.q, f["q"], k)], codes)
        self.logits = numerics.fmul(numerics.dequantise(acc, self.scalar[f["scale"]]), scales)
        self._emitted = self.logits if emit else None
        return numerics.argmax(self.logits)

    # --- vector -------------------------------------------------------------------------------------------

    def map(self, f: dict[str, int], tape: Tape) -> None:
        """MAP."""
        n, step = f["n"], f["segment"] or f["n"]
        if not n:
            return
        z = self._operand(f, n, tape)
        if f["scaled"]:
            z = numerics.fmul(z, numerics.fmul(self.scalar[f["s1"]], self.scalar[f["s2"]]))
        function = Function(f["function"])
        if function == Function.ROPE:
            row = self.const[span(self.const, f["c"], step)].repeat(-(-n // step))[:n]
            z = numerics.rope(z, row)
        elif function != Function.COPY:
            b = self.act[span(self.act, f["b"], n)]
            z = {
                Function.ADD: numerics.fadd,
                Function.MULTIPLY: numerics.fmul,
                Function.SILU_MULTIPLY: lambda x, y: numerics.fmul(numerics.silu(x), y),
            }[function](z, b)
        memory = {Dest.ACTIVATION: self.act, Dest.CONSTANT: self.const, Dest.SCALAR: self.scalar}[
            Dest(f["dest"])
        ]
        if f["statistics"]:
            self._gather(f, z, step)
        memory[span(memory, f["d"], n)] = z

    def _operand(self, f: dict[str, int], n: int, tape: Tape) -> Tensor:
        """The first operand of MAP, binary32 [n]."""
        source = Source(f["source"])
        if source == Source.ACTIVATION:
            return self.act[span(self.act, f["a"], n)].clone()
        if source == Source.ACCUMULATOR:
            return numerics.int_to_float(self.acc[span(self.acc, f["a"], n)])
        if source == Source.TAPE:
            return torch.from_numpy(np.frombuffer(tape.take(4 * n)[1].tobytes(), np.float32).copy())
        return self.attention.take_output(n)

    def _gather(self, f: dict[str, int], z: Tensor, step: int) -> None:
        """Statistics of z by segments of `step` elements."""
        scaled = numerics.fmul(z, self.const[span(self.const, f["c"], f["n"])]) if f["gain"] else z
        where = span(self.stat_sum, f["stat"], -(-f["n"] // step))
        parts = _segments(z, step)
        self.stat_sum[where], self.stat_saturated[where] = numerics.square_sum(parts, f["grid"])
        self.stat_max[where] = numerics.absmax(_segments(scaled, step))

    def quantise(self, f: dict[str, int], tape: Tape) -> None:
        """QUANTISE."""
        n, step, target = f["n"], f["segment"] or f["n"], Target(f["target"])
        if not n:
            return
        y = self.act[span(self.act, f["a"], n)]
        if f["gain"]:
            y = numerics.fmul(y, self.const[span(self.const, f["c"], n)])
        maximum = self.stat_max[span(self.stat_max, f["stat"], -(-n // step))]
        levels = numerics.INT16_LEVELS if target == Target.QUERY else numerics.INT8_LEVELS
        codes = numerics.quantise(_segments(y, step), maximum, levels).reshape(-1)[:n]
        scale = numerics.live_scale(maximum)
        if target == Target.MATMUL:
            self.q[span(self.q, f["d"], n)] = codes
        elif target == Target.QUERY:
            unit = self.attention
            unit.query[span(unit.query, f["d"], n)] = codes
            unit.query_scale[span(unit.query_scale, 0, len(maximum))] = numerics.fmul(
                scale, self.scalar[f["s1"]]
            )
        else:
            value = int(target == Target.VALUE)
            row, scales = self.stage[value], self.stage[0, : 8 * len(maximum)]
            row[span(row, f["d"], n)] = codes.to(torch.int8).numpy().view(np.uint8)
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


def _segments(x: Tensor, step: int) -> Tensor:
    """[segments, step], the last one filled up with zeros, which change neither sum nor absmax."""
    return torch.nn.functional.pad(x, (0, -len(x) % step)).reshape(-1, step)
