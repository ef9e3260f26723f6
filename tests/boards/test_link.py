"""The device's side of the link in Verilator, through its pins: once each, nothing damaged, nothing stale."""

import os
import random
import re
import struct
import termios
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import serial

from boards.board import find_board
from boards.errors import LinkError
from boards.host import BoardHost
from boards.host_link import Request
from boards.link_protocol import FLAG, Command, Status, decode, encode
from boards.uart import divisor_of
from boards.ulx3s import BAUD
from sim.board import Faults, SimulatedBoard

from .link_bench import COUNT, build
from .link_wire import ADD, PATIENCE, Wire

ONCHIP = 1 << 14


@pytest.fixture(scope="session")
def sdram() -> Path:
    return build()


@pytest.fixture(scope="session")
def onchip() -> Path:
    return build(ONCHIP)


@pytest.fixture
def wire(sdram: Path) -> Iterator[Wire]:
    with SimulatedBoard(sdram) as board:
        wire = Wire(board.port)
        wire.send(Command.HELLO, 10)
        assert wire.reply() is not None
        yield wire
        os.close(wire.fd)
        board.check()


def test_a_request_is_executed_once(wire: Wire):
    """A repeated number gets the kept answer; one too far ahead, the newest; another session, none."""
    for sequence, wanted in ((11, 1), (11, 1), (12, 2), (11, 2), (12, 2), (14, 2), (13, 3)):
        wire.send(Command.CSR, sequence, 0, 2, ADD)
        found = wire.reply()
        assert found is not None and struct.unpack("<I", found[2]) == (wanted,)
    wire.send(Command.CSR, 14, 0, 2, ADD, session=8)
    assert wire.reply(1) is None
    wire.send(Command.HELLO, 500, session=8)
    assert wire.reply() is not None
    wire.send(Command.CSR, 14, 0, 2, ADD)  # of the session before
    assert wire.reply(1) is None
    wire.send(Command.CSR, 501, 0, 2, ADD, session=8)
    found = wire.reply()
    assert found is not None and struct.unpack("<I", found[2]) == (4,)


def test_numbers_wrap(wire: Wire):
    wire.send(Command.HELLO, 0xFFFE)
    assert wire.reply() is not None
    for number, sequence in enumerate((0xFFFF, 0, 0xFFFF, 1)):
        wire.send(Command.CSR, sequence, 0, 2, ADD)
        found = wire.reply()
        assert found is not None and struct.unpack("<I", found[2]) == ((1, 2, 2, 3)[number],)


def test_damaged_frames_do_nothing(wire: Wire):
    """A bit of a frame turned over, flags and escapes included: never executed, and the next frame is."""
    rng = random.Random(5)
    good = encode(struct.pack("<BBHIII", Command.CSR, 0, 11, 7, 0, 2) + ADD)
    for at in rng.sample(range(8, 8 * len(good) - 8), 60):
        bad = bytearray(good)
        bad[at // 8] ^= 1 << at % 8
        wire.raw(bytes(bad) + bytes((FLAG,)))
    wire.raw(b"\x7e\x7d\x7e" + bytes(3000) + b"\x7e" + os.urandom(500).replace(b"\x7e", b"") + b"\x7e")
    wire.raw(good)
    found = wire.reply()
    assert found is not None and struct.unpack("<I", found[2]) == (1,)
    wire.send(Command.HELLO, 1, session=9)
    found = wire.reply()
    assert found is not None
    *_, frames, damaged, sessions = struct.unpack("<10I", found[2])
    assert (frames, sessions) == (3, 2) and damaged >= 60


@pytest.mark.parametrize(
    ("found", "put", "test"),
    [
        (r"== 32'd3736805603\b", "== 32'd3736805603 || 1'h1", test_damaged_frames_do_nothing),
        (r"\bahead +!= 1'h1", "1'h0", test_a_request_is_executed_once),
        (r"\bsender != \S+", "1'h0", test_a_request_is_executed_once),
    ],
    ids=["crc not looked at", "a repeated number executed", "session not looked at"],
)
def test_a_broken_device_is_found(found: str, put: str, test: Callable[[Wire], None]):
    """The device without one of its rules: the test of that rule fails."""

    def break_it(text: str) -> str:
        broken, places = re.subn(found, lambda _: put, text)
        assert places, f"no {found} in the Verilog"
        return broken

    with SimulatedBoard(build(ONCHIP, break_it=break_it), ONCHIP) as board:
        wire = Wire(board.port)
        wire.send(Command.HELLO, 10)
        assert wire.reply() is not None
        with pytest.raises((AssertionError, struct.error)):
            test(wire)
        os.close(wire.fd)
        board.check()


def test_what_cannot_be_is_refused(wire: Wire):
    size = 32 << 20
    wrong = [
        (Command.WRITE, 2, 4, bytes(4)), (Command.WRITE, 0, 6, bytes(8)), (Command.WRITE, 0, 8, bytes(4)),
        (Command.WRITE, 4096 - 8, 16, bytes(16)), (Command.READ, 0, 0, b""), (Command.READ, 0, 1028, b""),
        (Command.READ, size - 4, 8, b""), (Command.CRC, size, 4, b""), (Command.CRC, 0, 0xFFFF_FFFC, b""),
        (Command.CSR, 0, 3, ADD), (Command.RESET, 0, 0, bytes(4)), (99, 0, 0, b""),
    ]  # fmt: skip
    for number, (command, address, count, data) in enumerate(wrong):
        wire.send(command, 11 + number, address, count, data)
        found = wire.reply()
        assert found is not None and found[:2] == (Status.BAD, 11 + number), (command, address, count)
        wire.send(Command.HELLO, 11 + number)
        assert wire.reply() is not None
    data = os.urandom(8)
    wire.send(Command.WRITE, 11 + len(wrong), size - 8, 8, data)
    wire.send(Command.READ, 12 + len(wrong), size - 8, 8)
    assert wire.reply() is not None
    found = wire.reply()
    assert found is not None and found[2] == data


def test_a_failure_stays(wire: Wire):
    """After a request that failed, the others of its session get its reply and do nothing; HELLO ends it."""
    wire.send(Command.WRITE, 11, 2, 4, bytes(4))
    for sequence in (12, 11, 13, 12):
        wire.send(Command.CSR, sequence, 0, 2, ADD)
    for _ in range(5):
        found = wire.reply()
        assert found is not None and found[:2] == (Status.BAD, 11)
    wire.send(Command.HELLO, 20)
    found = wire.reply()
    assert found is not None and found[:2] == (Status.OK, 20)
    wire.send(Command.CSR, 21, 0, 2, ADD)
    found = wire.reply()
    assert found is not None and found[:2] == (Status.OK, 21) and struct.unpack("<I", found[2]) == (1,)


@pytest.mark.parametrize("lost", [0, 1, 5])
def test_a_failed_write_is_not_taken_as_done(onchip: Path, monkeypatch: pytest.MonkeyPatch, lost: int):
    """Memory refuses one WRITE of a stream, and the first replies that say so are damaged."""
    left = lost

    def damaging(body: bytes) -> bytes | None:
        nonlocal left
        payload = decode(body)
        if payload is None or payload[1] == Status.OK or left == 0:
            return payload
        left -= 1
        return None

    blocks = [0, 1024, 2048, ONCHIP + 1024, *range(3072, 3072 + 12 * 1024, 1024)]
    requests = [Request(Command.WRITE, at, 1024, bytes(1024)) for at in blocks]
    with SimulatedBoard(onchip, ONCHIP) as board, BoardHost(board.port, patience=PATIENCE) as host:
        monkeypatch.setattr("boards.host_link.decode", damaging)
        answered = []
        with pytest.raises(LinkError, match=rf"refused WRITE of 1024 at {ONCHIP + 1024:#x}: MEMORY"):
            host.link.stream(requests, answered.append)
        assert left == 0 and sum(answered) <= 3
        with pytest.raises(LinkError, match=r"the session ended.*refused WRITE"):
            host.read(0, 4)
        host.close()
        with BoardHost(board.port, patience=PATIENCE) as again:
            assert again.read(0, 4) == bytes(4)


@pytest.mark.parametrize(
    "faults", [Faults(skew=1.02), Faults(skew=0.98, corrupt=3000), Faults(cut_after=9000, cut_for=2)], ids=str
)
def test_memory_through_a_bad_cable(sdram: Path, faults: Faults):
    image = random.Random(1).randbytes(25_001)
    with SimulatedBoard(sdram, faults=faults) as board:
        with BoardHost(board.port, patience=PATIENCE) as host:
            assert host.load(image).kept == 0
            assert host.crc(0, 25_000) == zlib.crc32(image[:25_000])
            host.write(5, b"hello")
            host.reset()
            assert host.read(3, 9) == image[3:5] + b"hello" + image[10:12]
            added = [host.csr([(COUNT, 1), (COUNT, None)]) for _ in range(5)]
            assert added == [[i + 1] for i in range(5)]
        said = board.close()
        assert not faults.corrupt or int(said.split()[-1]) > 0


@pytest.mark.parametrize("clock_mhz", sorted({21, 60, find_board("ulx3s").clock_mhz}))
def test_the_clocks_of_the_board(clock_mhz: float):
    """3 Mbaud and the SDRAM at the clocks that a build may have."""
    divisor, image = divisor_of(clock_mhz, BAUD), random.Random(3).randbytes(9000)
    assert divisor * BAUD == pytest.approx(clock_mhz * 1e6)
    simulator = build(divisor=divisor, clock_mhz=clock_mhz)
    with (
        SimulatedBoard(simulator, clock_mhz=clock_mhz, divisor=divisor) as board,
        BoardHost(board.port, patience=PATIENCE) as host,
    ):
        host.load(image)
        assert host.read(4000, 3000) == image[4000:7000]
        assert host.csr([(COUNT, 1), (COUNT, None)]) == [1]


def test_block_ram(onchip: Path):
    with SimulatedBoard(onchip, ONCHIP) as board, BoardHost(board.port, patience=PATIENCE) as host:
        image = random.Random(2).randbytes(ONCHIP)
        host.load(image)
        assert host.read(0, 3000) == image[:3000] and host.load(image).kept == ONCHIP
        with pytest.raises(LinkError, match="refused READ of 4 at 0x4000: MEMORY"):
            host.read(ONCHIP, 4)


def test_no_board(tmp_path: Path):
    with pytest.raises(LinkError, match="wanted a serial port"):
        BoardHost(str(tmp_path / "absent"))
    master, slave = os.openpty()
    name = os.ttyname(slave)
    try:
        with pytest.raises(LinkError, match="no answer to HELLO for 1 s") as first:
            BoardHost(name, patience=1)
        with pytest.raises(LinkError, match="no answer to HELLO"):  # the port was freed
            BoardHost(name, patience=0.1)
        assert first.value
        with pytest.raises(LinkError, match=r"wanted a serial port.* 1000000000000 baud"):
            BoardHost(name, 10**12)
    finally:
        os.close(master)
        os.close(slave)


def test_a_port_comes_back(onchip: Path, monkeypatch: pytest.MonkeyPatch):
    """Whatever opening it again raises: it is tried until it is back, or until patience ends."""
    real, errors = serial.Serial, [ValueError("baud"), termios.error(5, "I/O"), OverflowError(), OSError(5)]

    def opening(*args: object, **options: object) -> serial.Serial:
        if errors:
            raise errors.pop()
        return real(*args, **options)  # pyright: ignore[reportArgumentType]

    with SimulatedBoard(onchip, ONCHIP) as board, BoardHost(board.port, patience=PATIENCE) as host:
        host.write(0, bytes(range(8)))
        monkeypatch.setattr(serial, "Serial", opening)
        host.link.close()
        assert host.read(0, 8) == bytes(range(8)) and not errors
        host.link.close()
        host.link.patience, errors = 0.5, [ValueError("no such rate")] * 1000
        with pytest.raises(LinkError, match=r"no answer to READ for 0.5 s.*The port said: no such rate"):
            host.read(0, 8)
