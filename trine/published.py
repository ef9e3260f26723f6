"""Published accelerators to set beside ours.

Every figure is as its paper states it, or derived from such ones where `derived` says so; none was measured
here, and machines, models and memories differ.
"""

from dataclasses import asdict, dataclass

__all__ = ["PUBLISHED", "System"]


@dataclass(frozen=True)
class System:
    """One system; None where its paper gives no such figure.

    bandwidth: share of the memory's peak that decode uses. first_token: (tokens of the prompt, seconds).
    derived: members that are computed from the paper's figures. note: what else to know.
    """

    name: str
    device: str
    model: str
    clock_mhz: float | None = None
    tokens_per_second: float | None = None
    bandwidth: float | None = None
    first_token: tuple[tuple[int, float], ...] = ()
    lut: int | None = None
    ff: int | None = None
    dsp: int | None = None
    block_ram: float | None = None
    ultra_ram: int | None = None
    derived: tuple[str, ...] = ()
    note: str = ""

    def to_json(self) -> dict[str, object]:
        """Plain values, and whose they are."""
        return {**asdict(self), "source": "as its paper states"}


PUBLISHED = (
    System(
        "TeLLMe v2", "KV260, 19.2 GB/s", "BitNet b1.58 0.73B, ternary", clock_mhz=250, tokens_per_second=25,
        bandwidth=0.29, first_token=((64, 0.45), (128, 0.96)), lut=98_303, ff=136_721, dsp=610,
        block_ram=98.5, ultra_ram=60, derived=("bandwidth",),
        note="up to 25 tokens/s; LM head on the CPU; under 5 W",
    ),
    System(
        "PD-Swap", "KV260", "BitNet-style, ternary", tokens_per_second=27,
        note="up to 27 tokens/s; successor of TeLLMe (arXiv 2512.11550)",
    ),
    System(
        "SkipOPU", "U280, HBM 460 GB/s", "LLaMA-2 7B and 13B, int4, about 25 % of blocks skipped",
        clock_mhz=225,
        note="effective KV bandwidth: dense 88.7 %, with its history buffer 101.5 % of the physical one; "
        "98.85 % of the LUTs; 1.23 to 3.83 times the bandwidth efficiency of others",
    ),
    System(
        "Hummingbird", "KV260, 19.2 GB/s", "LLaMA3 8B, int4", bandwidth=0.93,
        note="93 to 94 %: the best known use of an embedded board's bandwidth",
    ),
)  # fmt: skip
