"""The host program and a whole simulated board: load, self-test, 16 tokens; with damage, and with a cut."""

import dataclasses
import json
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
    golden = Golden(artefact)
    with SimulatedBoard(simulator, faults=faults) as simulated:
        with Board(artefact, simulated.port, patience=PATIENCE) as board:
            assert self_test(artefact, board).difference is None
            token = 1
            for position in range(16):
                request = one_token(token, position)
                found = board.run(request).tokens
                assert found == golden.run(request).tokens
                token = found[0][0]
        assert int(simulated.close().split()[-1]) > 0 or not faults.corrupt


def test_a_cut_load_goes_on(simulator: Path, tokenizer: Tokenizer):
    """Cut for good: a clear end; restored: the next load keeps what was proved."""
    artefact = tiny_artefact(tokenizer)
    with SimulatedBoard(simulator, faults=Faults(cut_after=45_000, cut_for=1e9)) as simulated:
        with pytest.raises(LinkError, match="no answer to WRITE"):
            Board(artefact, simulated.port, patience=3)
    with SimulatedBoard(simulator) as simulated:
        with BoardHost(simulated.port, patience=PATIENCE) as host:
            host.load(artefact.image[: 1 << 15])
        with Board(artefact, simulated.port, patience=PATIENCE) as board:
            assert board.loaded.kept == 1 << 15
            assert self_test(artefact, board).difference is None


def test_another_machine_is_refused(simulator: Path, artefact_path: Path, tokenizer: Tokenizer, capsys):
    """Board and artefact do not fit: said before anything is loaded."""
    other = dataclasses.replace(tiny_artefact(tokenizer), machine=dataclasses.replace(TINY, name="other"))
    with SimulatedBoard(simulator) as simulated, pytest.raises(LinkError, match="wanted machine"):
        Board(other, simulated.port, patience=PATIENCE)
    assert main(["run", str(artefact_path), "--on", "board"]) == 2
    assert "--port: wanted the serial port" in capsys.readouterr().err
