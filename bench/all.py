"""`make bench`: every measurement that the README quotes, in turn; each is also a command of its own."""

import subprocess
import sys
from pathlib import Path

from trine.output import note

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("bench.speed",), ("bench.decode_cycles",), ("bench.prefill",), ("bench.batch",), ("bench.machines",),
    ("bench.perplexity",),
)  # fmt: skip
#: Needs the real checkpoint and text; the first stories only, the whole file takes an hour.
COST = ("bench.arithmetic_cost", str(SHARED / "checkpoints" / "bit_model_1M.bin"),
        "--tokenizer", str(SHARED / "checkpoints" / "tok512.bin"),
        "--text", str(SHARED / "text" / "tinystories_dev.txt"), "--stories", "20")  # fmt: skip


def main() -> int:
    """Run all; the exit code of the first that fails."""
    commands = [*COMMANDS]
    if SHARED.is_dir():
        commands.append(COST)
    else:
        note("bench.arithmetic_cost is left out: ../shared with the real checkpoints is absent")
    for command in commands:
        print(f"\n== python -m {' '.join(command[:1])}", flush=True)
        code = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=False).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
