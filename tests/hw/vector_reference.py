"""What MAP, QUANTISE and NORM do to the state of a tile, by `models.numerics`."""

import torch
from torch import Tensor

from hw.isa import SCALARS, STATISTICS, Dest, Function, Source, Target
from hw.machine import MachineConfig
from models import numerics


def _segments(x: Tensor, step: int) -> Tensor:
    """[segments, step], the last one filled up with zeros, which change neither sum nor absmax."""
    return torch.nn.functional.pad(x, (0, -len(x) % step)).reshape(-1, step)


class Reference:
    """State of the vector unit and of the memories it writes; the first index of a banked one is the token.

    Members (names as in `hw.isa`)
    -------
    act [tile, words], const, scalar: binary32. acc [tile, rows]: int64, for LINEAR the bits of binary32.
    totals, saturated, maxima [tile, slots]: int64, bool, binary32.
    q, query [tile, elements]: int64. query_scale [tile, heads]: binary32.
    stage_k, stage_v [tile, bytes]: uint8.
    """

    def __init__(self, machine: MachineConfig) -> None:
        tile, lanes = machine.tile, machine.lanes
        self.lanes, self.mantissas = lanes, machine.activation_bits > 8
        self.act = torch.zeros(tile, machine.activation_words)
        self.const, self.scalar = torch.zeros(machine.constant_words), torch.zeros(SCALARS)
        self.acc = torch.zeros(tile, machine.accumulator_rows, dtype=torch.int64)
        self.totals = torch.zeros(tile, STATISTICS, dtype=torch.int64)
        self.saturated = torch.zeros(tile, STATISTICS, dtype=torch.bool)
        self.maxima = torch.zeros(tile, STATISTICS)
        self.q = torch.zeros(tile, machine.quantised_words, dtype=torch.int64)
        self.query = torch.zeros(tile, machine.max_query, dtype=torch.int64)
        self.query_scale = torch.zeros(tile, machine.max_heads)
        self.stage_k = torch.zeros(tile, machine.stage_bytes, dtype=torch.uint8)
        self.stage_v = torch.zeros(tile, machine.stage_bytes, dtype=torch.uint8)

    def map(self, f: dict[str, int], live: int, stream: Tensor, scales: Tensor) -> None:
        """MAP; `stream` [live, n] is what TAPE (binary32) or ATTENTION (sums) has, `scales` [live, words]."""
        n, step, source = f["n"], f["segment"] or f["n"], Source(f["source"])
        for t in range(live):
            if source == Source.ACTIVATION:
                x = self.act[t, f["a"] : f["a"] + n].clone()
            elif source == Source.ACCUMULATOR:
                x = numerics.int_to_float(self.acc[t, f["a"] : f["a"] + n])
            elif source == Source.LINEAR:
                x = numerics.bits_float(self.acc[t, f["a"] : f["a"] + n] & 0xFFFFFFFF)
            elif source == Source.TAPE:
                x = stream[t]
            else:
                x = numerics.fmul(numerics.int_to_float(stream[t]), scales[t].repeat_interleave(self.lanes))
            if f["scaled"]:
                factor = numerics.fmul(self.scalar[(f["s1"] + t) % SCALARS], self.scalar[f["s2"]])
                x = numerics.fmul(x, factor)
            z = self._function(f, x, t, step)
            if f["statistics"]:
                y = numerics.fmul(z, self.const[f["c"] : f["c"] + n]) if f["gain"] else z
                where = slice(f["stat"], f["stat"] - (-n // step))
                found = numerics.square_sum(_segments(z, step), f["grid"])
                self.totals[t, where], self.saturated[t, where] = found
                self.maxima[t, where] = numerics.absmax(_segments(y, step))
            dest = Dest(f["dest"])
            if dest == Dest.ACTIVATION:
                self.act[t, f["d"] : f["d"] + n] = z
            else:
                memory = self.const if dest == Dest.CONSTANT else self.scalar
                memory[(f["d"] + t * n + torch.arange(n)) % len(memory)] = z

    def _function(self, f: dict[str, int], x: Tensor, t: int, step: int) -> Tensor:
        function, n = Function(f["function"]), f["n"]
        if function == Function.COPY:
            return x
        if function == Function.ROPE:
            return numerics.rope(x, self.const[f["c"] + t * step + torch.arange(n) % step])
        b = self.act[t, f["b"] : f["b"] + n]
        if function == Function.ADD:
            return numerics.fadd(x, b)
        if function == Function.SILU_MULTIPLY:
            x = numerics.silu(x)
        elif function == Function.RELU2_MULTIPLY:
            x = numerics.relu2(x)
        return numerics.fmul(x, b)

    def quantise(self, f: dict[str, int], live: int) -> None:
        """QUANTISE."""
        n, step, target = f["n"], f["segment"] or f["n"], Target(f["target"])
        heads, d = -(-n // step), f["d"]
        levels = numerics.INT16_LEVELS if target == Target.QUERY else numerics.INT8_LEVELS
        for t in range(live):
            y = self.act[t, f["a"] : f["a"] + n]
            if f["gain"]:
                y = numerics.fmul(y, self.const[f["c"] : f["c"] + n])
            maximum = self.maxima[t, f["stat"] : f["stat"] + heads]
            if f["mantissa"] and self.mantissas:
                codes = numerics.quantise_mantissa(y, maximum[0])
            else:
                codes = numerics.quantise(_segments(y, step), maximum, levels).reshape(-1)[:n]
            scale = numerics.live_scale(maximum)
            if target == Target.MATMUL:
                self.q[t, d : d + n] = codes
            elif target == Target.QUERY:
                self.query[t, d : d + n] = codes
                self.query_scale[t, :heads] = numerics.fmul(scale, self.scalar[f["s1"]])
            else:
                row = self.stage_v if target == Target.VALUE else self.stage_k
                row[t, d : d + n] = codes.to(torch.int8).view(torch.uint8)
                first = 4 * (target == Target.VALUE)
                scales = scale.view(torch.uint8).reshape(-1, 4)
                self.stage_k[t, : 8 * heads].reshape(-1, 8)[:, first : first + 4] = scales

    def norm(self, f: dict[str, int], live: int) -> bool:
        """NORM; True where a sum of squares that it needed was saturated."""
        slot = f["stat"]
        for t in range(live):
            live_maximum = numerics.live_exponent if f["mantissa"] and self.mantissas else numerics.live_scale
            value = live_maximum(self.maxima[t, slot])
            if f["normalise"]:
                c, eps = self.scalar[f["c"]], self.scalar[f["eps"]]
                value = numerics.fmul(value, numerics.inverse_root(self.totals[t, slot], c, eps))
            self.scalar[(f["d"] + t) % SCALARS] = value
        return bool(f["normalise"] and self.saturated[:live, slot].any())
