"""Whether a mutant is the design after all: a formal proof, by Yosys, of its module or the one around.

Registers and ports of both are matched by name; induction shows that they stay equal. Reset is an input like
any other, so that no more is proved than that: another reset value is never proved equal, and neither is what
needs to know how the surroundings behave.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from hw.shared import PREFIX

from .plant import Mutant
from .surroundings import NUMBER

__all__ = ["proved_equal"]

TOP = "overlay"

#: Yosys ends its process at an error, so it gets one of its own.
_YOSYS = "import sys; from pyosys import libyosys as y; y.run_pass('script ' + sys.argv[1], y.Design())"
_SCRIPT = """
read_verilog -sv gold.v
hierarchy -top gold
proc; flatten; memory; opt_clean
rename -hide w:* t:$*ff* %x:+[Q] w:* %i %d
design -stash gold
read_verilog -sv gate.v
hierarchy -top gate
proc; flatten; memory; opt_clean
rename -hide w:* t:$*ff* %x:+[Q] w:* %i %d
design -stash gate
design -copy-from gold gold
design -copy-from gate gate
equiv_make gold gate both
hierarchy -top both
opt -purge
equiv_struct
equiv_simple -undef
equiv_induct -undef
equiv_status -assert
"""


def proved_equal(planted: str, mutant: Mutant, seconds: float = 120) -> str | None:
    """The module in which a mutant makes no difference; None if none is found in that time.

    planted: the text of `plant`, with all mutants.
    """
    name = mutant.module
    while name != TOP:  # the whole machine is too large
        if _equal(planted, name, mutant, seconds):
            return name
        name = name.rpartition(".")[0] or TOP
    return None


def _equal(planted: str, name: str, mutant: Mutant, seconds: float) -> bool:
    modules = [one for one in re.split(r"^(?=module )", planted, flags=re.MULTILINE)
               if _is_in(one, name) or _is_in(one, PREFIX)]  # fmt: skip
    text = re.sub(rf"{NUMBER} == (?!{mutant.number}\b)\d+", "1'b0", "".join(modules))
    top = re.compile(rf"^module \\?{re.escape(name)} ?\(", re.MULTILINE)
    with tempfile.TemporaryDirectory(prefix="trine-") as folder:
        home = Path(folder)
        for side, bit in (("gold", "1'b0"), ("gate", "1'b1")):
            one = text.replace(f"{NUMBER} == {mutant.number}", bit)
            (home / f"{side}.v").write_text(top.sub(f"module {side}(", one, count=1))
        (home / "script.ys").write_text(_SCRIPT)
        command = [sys.executable, "-c", _YOSYS, "script.ys"]
        try:
            done = subprocess.run(command, cwd=home, capture_output=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            return False
    return done.returncode == 0 and b"Equivalence successfully proven" in done.stdout


def _is_in(text: str, name: str) -> bool:
    found = re.match(r"module \\?(\S+?) ?\(", text)
    if found is None:
        return False
    return found[1].startswith(PREFIX) if name == PREFIX else (found[1] + ".").startswith(f"{name}.")
