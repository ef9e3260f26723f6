"""What packing costs: products of a DSP block and look-up tables of a product, row by row of `hw.packing`.

``python -m bench.packing [--family FAMILY]``

Each row of `hw.packing.ROWS` is synthesised (Yosys) as a `PackedMultiplier`, all of its corrections included,
and beside it two baselines: the same operands unpacked, one product in a block, and one product in look-up
tables alone. A look-up table has up to six inputs on xcup, four on ecp5. Sums of shifted weights are in
look-up tables too: Yosys does not use the pre-adder of a DSP48E2.
"""

import argparse
from dataclasses import dataclass, replace
from functools import cache

from bench.synthesis import synthesise
from hw.packed_multiplier import PackedMultiplier
from hw.packing import FAMILIES, ROWS, Packing

__all__ = ["Row", "measure"]


@dataclass(frozen=True)
class Row:
    """What one packing takes: blocks and look-up tables for so many products."""

    name: str
    products: int
    dsps: int
    luts: int
    registers: int

    def __str__(self) -> str:
        per_dsp = f"{self.products / self.dsps:g}" if self.dsps else "no DSP"
        return (
            f"{self.name:<40} {self.products:>8} {self.dsps:>4} {self.luts:>5} {self.registers:>9} "
            f"{self.luts / self.products:>11.1f}   products per DSP: {per_dsp}"
        )


@cache
def measure(name: str, family: str, packing: Packing, dsp: bool = True) -> Row:
    """Synthesises one packing."""
    netlist = synthesise(PackedMultiplier(packing), family, dsp)
    return Row(name, packing.products, netlist.dsps, netlist.luts, netlist.registers)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--family", choices=FAMILIES, help="only this one")
    family_wanted = parser.parse_args().family
    print(f"{'packing':<40} {'products':>8} {'DSP':>4} {'LUT':>5} {'registers':>9} {'LUT/product':>11}")
    seen: set[str] = set()
    for name, packing in ROWS.items():
        family = name.split()[0]
        if family_wanted not in (None, family):
            continue
        print(measure(name, family, packing), flush=True)
        operands = f"{family} int{packing.weight_bits} x {packing.activation_bits} bit"
        if operands not in seen:
            seen.add(operands)
            single = replace(packing, weight_offsets=(0,), activation_offsets=(0,))
            print(measure(f"  {operands}, unpacked", family, single), flush=True)
            print(measure(f"  {operands}, without DSP", family, single, dsp=False), flush=True)


if __name__ == "__main__":
    main()
