"""A simulated board: the real top with its SDRAM chip in Verilator, its UART on a pseudo-terminal.

``python -m sim.board --machine narrow`` prints the terminal's name and runs until it is interrupted; the host
program uses it as any serial port: ``trine run ARTEFACT --on board --port NAME``.
"""

import argparse
import contextlib
import dataclasses
import os
import subprocess
import sys
import tempfile
import tty
from pathlib import Path
from typing import Self

import boards
from boards.sdram_timing import ULX3S_SDRAM, SdramTiming
from hw.machine import MACHINES, MachineConfig

from .errors import SimulationError
from .verilate import SOURCES, Progress, _converted, build_texts

__all__ = ["Faults", "SimulatedBoard", "board_simulator", "build_board"]

#: Chip pins of `SdramPins`, and their widths.
_PINS = {"a": 13, "ba": 2, "cs_n": 1, "ras_n": 1, "cas_n": 1, "we_n": 1, "dqm": 2, "cke": 1, "dq_o": 16,
         "dq_oe": 1}  # fmt: skip
#: What `SdramTiming` and the chip model both call so.
_RULES = ("rows", "columns", "cas_latency", "mode_clocks", "init_refreshes", "t_rcd", "t_rp", "t_ras", "t_rc",
          "t_rrd", "t_wr", "t_rfc", "t_refi", "init_us")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Faults:
    """What the cable does.

    corrupt: changes one byte in so many, both ways; 0: none. After `cut_after` bytes from the host (0: never)
    nothing passes for `cut_for` seconds. skew: bit time of the host's UART over the board's.
    """

    corrupt: int = 0
    cut_after: int = 0
    cut_for: float = 0
    skew: float = 1


def _wrapper(sdram: bool) -> str:
    """Verilog of a module ``top`` around the board's top: pins under plain names."""
    ports = [f"output [{bits - 1}:0] {name}" for name, bits in _PINS.items()] if sdram else []
    chip = "".join(f", .sdram__{name}({name})" for name in (*_PINS, "dq_i")) if sdram else ""
    return (
        f"module top(input clk, input rst, input rx, output tx, output [7:0] leds, input [15:0] dq_i"
        f"{''.join(f', {port}' for port in ports)});\n"
        f"  board board(.clk(clk), .rst(rst), .rx(rx), .tx(tx), .leds(leds){chip});\nendmodule\n"
    )


def board_verilog(
    machine: MachineConfig, memory: SdramTiming | int, clock_mhz: float, divisor: int, progress: Progress
) -> str:
    """Verilog of `boards.top.UartTop` as module ``board``, cached by the sources of hw and boards."""

    def convert() -> tuple[str]:
        from boards.top import UartTop

        from .emit import emit_component

        baud = round(clock_mhz * 1e6 / divisor)
        top = UartTop(machine, clock_mhz=clock_mhz, baud=baud, memory=memory)
        return (emit_component(top, "board"),)

    sources = [file.read_bytes() for file in sorted(Path(boards.__file__).parent.glob("*.py"))]
    return _converted(machine, ["board", memory, clock_mhz, divisor, *sources], (".v",), convert, progress)[0]


def build_board(
    machine: MachineConfig,
    memory: SdramTiming | int = ULX3S_SDRAM,
    *,
    clock_mhz: float = 80,
    divisor: int = 4,
    progress: Progress = lambda _: None,
) -> Path:
    """The simulator of a board, from the cache if it is there."""
    verilog = board_verilog(machine, memory, clock_mhz, divisor, progress)
    return board_simulator(verilog, isinstance(memory, SdramTiming))


def board_simulator(verilog: str, sdram: bool) -> Path:
    """The simulator of a module ``board`` with the pins of `boards.top.UartTop`."""
    texts = {
        "top.sv": _wrapper(sdram),
        "board.v": verilog,
        "board.cpp": (SOURCES / "board.cpp").read_text(),
        "sdram_chip.h": (SOURCES / "sdram_chip.h").read_text(),
    }
    return build_texts("top", texts, ("-CFLAGS", f"-I.. -DSDRAM={int(sdram)} -O2"))


class SimulatedBoard:
    """A running simulator and the name of its port.

    Parameters
    ----------
    program : Path
        From `build_board` or `board_simulator`; memory, clock_mhz, divisor are those of its build.
    faults : Faults
    seed : int
        Of the chip's contents and of the faults.

    Members
    -------
    port : str
        The pseudo-terminal, for the host.
    """

    def __init__(
        self,
        program: Path,
        memory: SdramTiming | int = ULX3S_SDRAM,
        *,
        clock_mhz: float = 80,
        divisor: int = 4,
        faults: Faults = Faults(),
        seed: int = 1,
    ):
        rules = [f"clock_ns={1000 / clock_mhz}"]
        if isinstance(memory, SdramTiming):
            rules += [f"{name}={getattr(memory, name)}" for name in _RULES]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed by `close`
        #: The slave stays open, so that the terminal outlives a host that closes it.
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        options = [f"fd={self._master}", f"divisor={divisor}", f"seed={seed}",
                   *(f"{name}={value}" for name, value in dataclasses.asdict(faults).items())]  # fmt: skip
        self._process = subprocess.Popen(
            [str(program), *options, *rules],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            pass_fds=(self._master,),
        )

    def say(self, command: str) -> None:
        """``cut``, ``restore``, ``corrupt N``; SimulationError where the simulator has died."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{command}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            self.check()

    def check(self) -> None:
        """SimulationError if the simulator has ended, with what it said."""
        if self._process.poll() is not None:
            raise SimulationError(f"the simulated board ended: {self._said()}")

    def _said(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace").strip() or "it said nothing"

    def close(self) -> str:
        """End it; what it printed. Safe to repeat."""
        if self._master < 0:
            return ""
        with contextlib.suppress(BrokenPipeError, OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        said = self._said()
        self._log.close()
        for end in (self._master, self._slave):
            os.close(end)
        self._master = -1
        return said

    def wait(self) -> None:
        """Until the simulator ends."""
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m sim.board", description=__doc__)
    fitting = sorted(name for name, one in MACHINES.items() if (one.bus_bytes, one.ports) == (4, 1))
    parser.add_argument("--machine", choices=fitting, default=fitting[0])
    parser.add_argument("--onchip", type=int, metavar="BYTES", help="block RAM in place of the SDRAM")
    parser.add_argument("--divisor", type=int, default=4, help="clocks of a bit (default %(default)s)")
    parser.add_argument("--corrupt", type=int, default=0, metavar="N", help="change one byte in N")
    parser.add_argument(
        "--cut-after", type=int, default=0, metavar="N", help="cut after N bytes from the host"
    )
    parser.add_argument("--cut-for", type=float, default=0, metavar="S", help="for S seconds")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    faults = Faults(args.corrupt, args.cut_after, args.cut_for)
    memory = ULX3S_SDRAM if args.onchip is None else args.onchip
    program = build_board(
        MACHINES[args.machine], memory, divisor=args.divisor,
        progress=lambda text: print(text, file=sys.stderr, flush=True),
    )  # fmt: skip
    board = SimulatedBoard(program, memory, divisor=args.divisor, faults=faults, seed=args.seed)
    try:
        print(board.port, flush=True)
        board.wait()
        board.check()
    except KeyboardInterrupt:
        pass
    finally:
        board.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
