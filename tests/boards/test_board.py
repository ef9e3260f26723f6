"""The host program and a whole simulated board: load, self-test, 16 tokens; with damage, and with a cut."""

import dataclasses
import itertools
import json
import time
from pathlib import Path

import pytest

from boards.errors import LinkError
from boards.host import BoardHost
from models.tokenizer import Tokenizer
from sim.backends import Golden
from sim.board import Faults, SimulatedBoard, build_board
from sim.board_backend import Board
from sim.requests import one_token
from sim.selftest import self_test
from trine.cli import main

from .tiny import TINY, tiny_artefact

PATIENCE = 60


@pytest.fixture(scope="session")
def simulator() -> Path:
    return build_board(TINY)


@pytest.fixture(scope="session")
def artefact_path(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("board") / "tiny.trine"
    tiny_artefact(tokenizer).write(path)
    return path


def test_the_same_command(simulator: Path, artefact_path: Path, tmp_path: Path, capsys):
    """run, selftest and check on the board's port: what golden gives."""
    target, found = tmp_path / "run.json", []
    with SimulatedBoard(simulator) as board:
        place = ("--port", board.port)
        for where in (("golden",), ("board", *place)):
            argv = [
                "run",
                artefact_path,
                "--prompt",
                "a dog",
                "--tokens",
                16,
                "--json",
                target,
                "--on",
                *where,
            ]
            assert main(list(map(str, argv))) == 0
            found.append((capsys.readouterr().out, json.loads(target.read_text())["tokens"]))
        assert main(["selftest", str(artefact_path), *place]) == 0
        out = capsys.readouterr()
        assert "self-test passed: 8 tokens" in out.out and "were there already" in out.err
        assert main(["check", str(artefact_path), "--on", "golden,board", "--tokens", "4", *place]) == 0
        assert "exact: golden, board agree on 4 tokens" in capsys.readouterr().out
    assert found[0] == found[1] and len(found[0][1]) == 16


@pytest.mark.parametrize("faults", [Faults(corrupt=4000), Faults(cut_after=30_000, cut_for=3)], ids=str)
def test_bad_cable(simulator: Path, tokenizer: Tokenizer, faults: Faults):
    """Damage and a cut in mid-load cost time only."""
    artefact = tiny_artefact(tokenizer)
    golden, times = Golden(artefact), [time.monotonic()]
    with SimulatedBoard(simulator, faults=faults) as simulated:
        with Board(
            artefact, simulated.port, patience=PATIENCE, progress=lambda *_: times.append(time.monotonic())
        ) as board:
            longest = max(later - earlier for earlier, later in itertools.pairwise(times))
            assert longest > 0.8 * faults.cut_for, "the cable was not cut in the load"
            assert self_test(artefact, board).difference is None
            token = 1
            for position in range(16):
                request = one_token(token, position)
                found = board.run(request).tokens
                assert found == golden.run(request).tokens
                token = found[0][0]
            assert board.board.link.resent > 0
        assert int(simulated.close().split()[-1]) > 0 or not faults.corrupt


def test_a_cut_load_goes_on(simulator: Path, tokenizer: Tokenizer):
    """Cut in mid-load: a clear end; restored: the next load of the same board keeps what was proved."""
    artefact = tiny_artefact(tokenizer)
    segment, done = 1 << 15, 0
    with SimulatedBoard(simulator) as simulated:
        with BoardHost(simulated.port, patience=PATIENCE) as host:

            def cut(count: int) -> None:
                nonlocal done
                done += count
                if done > segment and host.link.patience == PATIENCE:
                    simulated.say("cut")
                    host.link.patience = 2

            with pytest.raises(LinkError, match="no answer to WRITE"):
                host.load(artefact.image, cut)
        assert segment < done < len(artefact.image)
        with pytest.raises(LinkError, match="no answer to HELLO"):
            Board(artefact, simulated.port, patience=1)
        simulated.say("restore")
        with Board(artefact, simulated.port, patience=PATIENCE) as board:
            assert board.loaded.kept == segment
            assert board.loaded.written == len(artefact.image) + -len(artefact.image) % 4 - segment
            assert self_test(artefact, board).difference is None
            request = one_token(1, 0)
            assert board.run(request).tokens == Golden(artefact).run(request).tokens


def test_another_machine_is_refused(simulator: Path, artefact_path: Path, tokenizer: Tokenizer, capsys):
    """Board and artefact do not fit: said before anything is loaded."""
    other = dataclasses.replace(tiny_artefact(tokenizer), machine=dataclasses.replace(TINY, name="other"))
    with SimulatedBoard(simulator) as simulated, pytest.raises(LinkError, match="wanted machine"):
        Board(other, simulated.port, patience=PATIENCE)
    with SimulatedBoard(simulator) as simulated:
        argv = ["selftest", str(artefact_path), "--port", simulated.port, "--baud", str(10**12)]
        assert main(argv) == 2
    assert "that does 1000000000000 baud" in capsys.readouterr().err
    assert main(["run", str(artefact_path), "--on", "board", "--tokens", "4"]) == 2
    assert "--port: wanted the serial port" in capsys.readouterr().err
