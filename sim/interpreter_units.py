"""The matmul, vector and store units of the interpreter: their memories, and what instructions do to them."""

import numpy as np
import torch
from torch import Tensor

from hw.integer_shape import IntegerShape
from hw.isa import SCALARS, STATISTICS, Dest, Function, Payload, Source, Target
from hw.machine import MachineConfig
from models import numerics

from .interpreter_attention import Attention
from .interpreter_matrix import Matrices
from .interpreter_tape import Tape, UsageError, Writes, span

#: Activation bits of a machine that has mantissas.
MANTISSA_BITS = 12


class Units:
    """State of matmul, vector, attention and store units; `live`: the tokens that an instruction acts for.

    Members (names as in `hw/isa.py`)
    -------
    act: binary32 [tile, n]. acc, q: int64 [tile, n]. stat_sum, stat_max, stat_saturated: [tile, slots].
    const, scalar: binary32 [n]. stage: uint8 [tile, 2, stage_bytes] (K row, V row). attention: its unit.
    logits: of the last HEAD, binary32 [tokens, rows]. top: TOP of each token, ids and binary32 values.
    next_token: NEXT_TOKEN of each token. writes: what instructions wrote, for an observer.
    """

    def __init__(self, machine: MachineConfig) -> None:
        self.machine, tile = machine, machine.tile
        self.act, self.const = (
            torch.zeros(tile, machine.activation_words),
            torch.zeros(machine.constant_words),
        )
        self.scalar = torch.zeros(SCALARS)
        self.acc = torch.zeros(tile, machine.accumulator_rows, dtype=torch.int64)
        self.q = torch.zeros(tile, machine.quantised_words, dtype=torch.int64)
        self.stat_sum = torch.zeros(tile, STATISTICS, dtype=torch.int64)
        self.stat_max = torch.zeros(tile, STATISTICS)
        self.stat_saturated = torch.zeros(tile, STATISTICS, dtype=torch.bool)
        self.attention = Attention(machine)
        self.stage = np.zeros((tile, 2, machine.stage_bytes), np.uint8)
        self.logits = torch.zeros(0, 0)
        self.top = [(torch.zeros(0, dtype=torch.int64), torch.zeros(0)) for _ in range(tile)]
        self.next_token = [0] * tile
        self.writes = Writes()
        self._matrices = Matrices(machine)
        self.begin()

    def begin(self) -> None:
        """A step starts: no stream is open."""
        self._emitted: Tensor | None = None
        self.attention.begin()

    def leftovers(self) -> str:
        """What a stream still holds at the end of a step."""
        if self._emitted is not None:
            return "HEAD sent logits that no STORE took: the machine would never finish"
        return "attention output that no MAP took" if self.attention.output is not None else ""

    # --- matmul -------------------------------------------------------------------------------------------

    def matmul(self, f: dict[str, int], tape: Tape, live: int = 1) -> None:
        """MATMUL."""
        rows, k = f["rows"], f["k"]
        weight = self._matrices.ternary(tape, rows, k)
        q = self.q[:live, span(self.q, f["q"], k)]
        if q.numel() and int(q.abs().max()) > numerics.INT8_LEVELS:
            raise UsageError(
                f"wanted activations within +-{numerics.INT8_LEVELS}, found mantissas of 12 bits"
            )
        acc = numerics.integer_linear(q, weight)
        self.acc[:live, span(self.acc, f["acc"], rows)] = acc
        self.writes.each("ACC", f["acc"], acc)

    def linear(self, f: dict[str, int], tape: Tape, live: int = 1) -> int:
        """LINEAR; the number of its products."""
        y, products = self._integer(f, tape, live)
        bits = y.contiguous().view(torch.int32).to(torch.int64)  # a partial sum is a signed number
        self.acc[:live, span(self.acc, f["acc"], f["rows"])] = bits
        self.writes.each("ACC", f["acc"], bits)
        return products

    def head(self, f: dict[str, int], tape: Tape, emit: bool, live: int = 1) -> int:
        """HEAD; the number of its products."""
        self.logits, products = self._integer(f, tape, live)
        self._emitted = self.logits if emit else None
        for t, logits in enumerate(self.logits):
            self.top[t] = numerics.top_k(logits, self.machine.top_k)
            self.next_token[t] = int(self.top[t][0][0])
        if self.writes.wanted:
            rows = [torch.stack((ids, numerics.float_bits(values)), -1) for ids, values in self.top[:live]]
            self.writes.each("TOP", 0, torch.stack(rows))
        return products

    def _integer(self, f: dict[str, int], tape: Tape, live: int) -> tuple[Tensor, int]:
        """y of LINEAR and HEAD, binary32 [live, rows], and the number of products."""
        try:
            shape = IntegerShape.of(self.machine, f)
        except ValueError as error:
            raise UsageError(str(error)) from error
        weight = self._matrices.integer(tape, shape)
        q = self.q[:live, span(self.q, f["q"], f["k"])]
        acc = numerics.grouped_linear(q, weight.codes, f["group"], weight.scales, weight.minima)
        scaled = numerics.dequantise(acc, self._scalars(f["scale"], live)[:, None])
        return numerics.fmul(scaled, weight.row_scale), live * shape.products

    # --- vector -------------------------------------------------------------------------------------------

    def _scalars(self, first: int, live: int) -> Tensor:
        """SCALAR[first + t] for each token, binary32 [live]."""
        return self.scalar[(first + torch.arange(live)) % SCALARS]

    def map(self, f: dict[str, int], tape: Tape, live: int = 1) -> None:
        """MAP."""
        n, step = f["n"], f["segment"] or f["n"]
        if not n:
            return
        z = self._operand(f, n, tape, live)
        if f["scaled"]:
            factor = numerics.fmul(self._scalars(f["s1"], live), self.scalar[f["s2"]])
            z = numerics.fmul(z, factor[:, None])
        function = Function(f["function"])
        if function == Function.ROPE:
            rows = self.const[span(self.const, f["c"], live * step)].reshape(live, step)
            z = numerics.rope(z, rows.repeat(1, -(-n // step))[:, :n])
        elif function != Function.COPY:
            b = self.act[:live, span(self.act, f["b"], n)]
            z = {
                Function.ADD: numerics.fadd,
                Function.MULTIPLY: numerics.fmul,
                Function.SILU_MULTIPLY: lambda x, y: numerics.fmul(numerics.silu(x), y),
                Function.RELU2_MULTIPLY: lambda x, y: numerics.fmul(numerics.relu2(x), y),
            }[function](z, b)
        if f["statistics"]:
            self._gather(f, z, step)
        dest = Dest(f["dest"])
        if dest == Dest.ACTIVATION:
            self.act[:live, span(self.act, f["d"], n)] = z
            self.writes.each("ACT", f["d"], z)
        else:
            memory = self.const if dest == Dest.CONSTANT else self.scalar
            memory[span(memory, f["d"], live * n)] = z.reshape(-1)
            self.writes.common("CONST" if dest == Dest.CONSTANT else "SCALAR", f["d"], z)

    def _operand(self, f: dict[str, int], n: int, tape: Tape, live: int) -> Tensor:
        """The first operand of MAP, binary32 [live, n]."""
        source = Source(f["source"])
        if source == Source.ACTIVATION:
            return self.act[:live, span(self.act, f["a"], n)].clone()
        if source == Source.ACCUMULATOR:
            return numerics.int_to_float(self.acc[:live, span(self.acc, f["a"], n)])
        if source == Source.LINEAR:
            return numerics.bits_float(self.acc[:live, span(self.acc, f["a"], n)])
        if source == Source.TAPE:
            data = np.frombuffer(tape.take(4 * n * live)[1].tobytes(), np.float32)
            return torch.from_numpy(data.copy()).reshape(live, n)
        return self.attention.take_output(n, live)

    def _gather(self, f: dict[str, int], z: Tensor, step: int) -> None:
        """Statistics of z [live, n] by segments of `step` elements."""
        live, first = len(z), f["stat"]
        scaled = numerics.fmul(z, self.const[span(self.const, f["c"], f["n"])]) if f["gain"] else z
        where = span(self.stat_sum, first, -(-f["n"] // step))
        total, saturated = numerics.square_sum(_segments(z, step), f["grid"])
        maximum = numerics.absmax(_segments(scaled, step))
        self.stat_sum[:live, where], self.stat_saturated[:live, where] = total, saturated
        self.stat_max[:live, where] = maximum
        self.writes.each("STAT_TOTAL", first, total)
        self.writes.each("STAT_MAXIMUM", first, maximum)

    def quantise(self, f: dict[str, int], tape: Tape, live: int = 1) -> None:
        """QUANTISE."""
        n, step, target = f["n"], f["segment"] or f["n"], Target(f["target"])
        if f["mantissa"]:
            self._mantissas()
            if target != Target.MATMUL or f["segment"]:
                raise UsageError(
                    f"mantissa: wanted target MATMUL and segment 0, found {target.name} and {f['segment']}"
                )
        if not n:
            return
        y = self.act[:live, span(self.act, f["a"], n)]
        if f["gain"]:
            y = numerics.fmul(y, self.const[span(self.const, f["c"], n)])
        maximum = self.stat_max[:live, span(self.stat_max, f["stat"], -(-n // step))]
        if f["mantissa"]:
            codes = numerics.quantise_mantissa(y, maximum[:, 0])
        else:
            levels = numerics.INT16_LEVELS if target == Target.QUERY else numerics.INT8_LEVELS
            codes = numerics.quantise(_segments(y, step), maximum, levels).reshape(live, -1)[:, :n]
        scale = numerics.live_scale(maximum)
        if target == Target.MATMUL:
            self.q[:live, span(self.q, f["d"], n)] = codes
            self.writes.each("Q", f["d"], codes)
        elif target == Target.QUERY:
            unit, scale = self.attention, numerics.fmul(scale, self.scalar[f["s1"]])
            unit.query[:live, span(unit.query, f["d"], n)] = codes
            unit.query_scale[:live, span(unit.query_scale, 0, scale.shape[1])] = scale
            self.writes.each("QUERY", f["d"], codes)
            self.writes.each("QUERY_SCALE", 0, scale)
        else:
            self._to_stage(int(target == Target.VALUE), f["d"], codes, scale)

    def _to_stage(self, value: int, d: int, codes: Tensor, scale: Tensor) -> None:
        """Codes [live, n] to the K row or (value = 1) V row, scales [live, heads] to the K row."""
        live, heads = scale.shape
        data = codes.to(torch.int8).numpy().view(np.uint8)
        self.stage[:live, value, span(self.stage, d, codes.shape[1])] = data
        span(self.stage, 0, 8 * heads)
        words = scale.contiguous().numpy().view(np.uint8).reshape(live, heads, 4)
        for head in range(heads):
            at = 8 * head + 4 * value
            self.stage[:live, 0, at : at + 4] = words[:, head]
            self.writes.each("STAGE_K", at, words[:, head])
        self.writes.each("STAGE_V" if value else "STAGE_K", d, data)

    def _mantissas(self) -> None:
        """UsageError where the machine has no 12-bit activations."""
        if self.machine.activation_bits < MANTISSA_BITS:
            raise UsageError(
                f"mantissa: wanted a machine with activation_bits {MANTISSA_BITS}, "
                f"found {self.machine.activation_bits}"
            )

    def norm(self, f: dict[str, int], live: int = 1) -> bool:
        """NORM; True where the run ends because a sum of squares saturated."""
        maximum, slot = self.stat_max[:live, f["stat"]], f["stat"]
        if f["mantissa"]:
            self._mantissas()
        found = (numerics.live_exponent if f["mantissa"] else numerics.live_scale)(maximum)
        if f["normalise"]:
            total, c, eps = self.stat_sum[:live, slot], self.scalar[f["c"]], self.scalar[f["eps"]]
            found = numerics.fmul(found, numerics.inverse_root(total, c, eps))
        for t in range(live):
            at = (f["d"] + t) % SCALARS
            self.scalar[at] = found[t]
            self.writes.common("SCALAR", at, found[t : t + 1])
        return bool(f["normalise"] and self.stat_saturated[:live, slot].any())

    # --- store --------------------------------------------------------------------------------------------

    def payload(self, f: dict[str, int], live: int = 1) -> list[np.ndarray]:
        """The bytes that a STORE writes: for each token, of logits all in one."""
        payload, size = Payload(f["payload"]), f["bytes"]
        if payload == Payload.ACTIVATION:
            if size % 4:
                raise UsageError(f"bytes: wanted a multiple of 4, found {size}")
            where = span(self.act, f["a"], size // 4)
            return [row.numpy().view(np.uint8) for row in self.act[:live, where]]
        if payload != Payload.LOGITS:
            where = span(self.stage, 0, size)
            return list(self.stage[:live, int(payload == Payload.VALUE), where])
        if self._emitted is None or 4 * self._emitted.numel() != size * live or len(self._emitted) != live:
            found = "none" if self._emitted is None else str(4 * self._emitted.numel())
            raise UsageError(
                f"wanted {size * live} bytes of logits, found {found}: the machine would never finish"
            )
        logits, self._emitted = self._emitted, None
        return [logits.T.contiguous().numpy().reshape(-1).view(np.uint8)]


def _segments(x: Tensor, step: int) -> Tensor:
    """[.., segments, step], the last one filled up with zeros, which change neither sum nor absmax."""
    padded = torch.nn.functional.pad(x, (0, -x.shape[-1] % step))
    return padded.unflatten(-1, (-1, step))
