"""Host programs of KV260 and U280 where a machine still runs or a driver fails: no memory that the machine
may write is given back, no run begins within another, a driver's error says what to do."""

import gc
import re
from pathlib import Path

import pytest

from boards.runtime.kv260 import open_kv260
from boards.runtime.session import DeviceError
from boards.runtime.u280 import open_u280
from boards.vendor.address_map import U280_BANK, AddressMap
from hw.artefact import Artefact
from hw.isa import CSR_INDEX
from hw.machine import CI
from sim.backend import Request
from sim.backends import Golden
from sim.entries import Entry
from sim.memory_image import initial_memory
from sim.register_backend import RegisterBackend

from .fake_drivers import FakePynq, FakeXrt
from .test_runtime import compiled, kv260_map, on_kv260, on_u280

STATUS, CONTROL = CSR_INDEX["STATUS"], CSR_INDEX["CONTROL"]
ONE = Request([Entry(1, 0)])


@pytest.fixture(scope="module")
def artefact() -> Artefact:
    return compiled(CI)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch):
    """A second instead of ten: the machines here end within 50 looks at STATUS, or never."""
    monkeypatch.setattr("boards.runtime.session._GRACE", 0.05)
    monkeypatch.setattr("boards.runtime.session.SETTLE", 1.0)


def interrupt(backend: RegisterBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that Ctrl-C ends on the host, not in the machine."""

    def ctrl_c(seconds: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("boards.runtime.session.time.sleep", ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            backend.run(ONE)


def opened_again(artefact: Artefact, fake: FakePynq | FakeXrt) -> RegisterBackend:
    """The machine as the next process finds it: its bitstream or image is not loaded anew."""
    image = initial_memory(artefact, seed=11)
    if isinstance(fake, FakePynq):
        session, base = open_kv260(kv260_map(artefact), image, artefact.machine, pynq=fake)
    else:
        place = AddressMap.of(artefact.machine, 0, 0, fake.banks * U280_BANK, fake.banks)
        session, base = open_u280(place, image, artefact.machine, Path("trine.xclbin"), pyxrt=fake)
    return RegisterBackend(session, artefact, memory_base=base, limit=1000)


def test_a_run_in_software_lasts(artefact: Artefact):
    """`RegisterFile`: bit 0 of STATUS, then bit 1; a doorbell within a run does nothing."""
    backend, fake = on_kv260(artefact)
    backend.run(ONE)
    file = fake.fabric
    file.lasts = 2
    file.write(CONTROL, 3)
    assert file.running and file.read(STATUS) & 3 == 1
    file.write(CONTROL, 1)
    assert file.read(STATUS) & 3 == 1
    assert file.read(STATUS) & 3 == 2 and not file.running
    file.lasts = None
    file.write(CONTROL, 3)
    assert {file.read(STATUS) & 3 for _ in range(100)} == {1}


@pytest.mark.parametrize("board", [on_kv260, on_u280])
def test_a_run_is_waited_for(board, artefact: Artefact):
    backend, fake = board(artefact)
    fake.fabric.lasts = 5
    request = Request([Entry(1, 0)], steps=4)
    with backend:
        assert backend.run(request).tokens == Golden(artefact).run(request).tokens


# Memory that the machine may write is not given back.


def test_close_waits_for_the_machine(artefact: Artefact, monkeypatch: pytest.MonkeyPatch):
    """Ctrl-C within a run: the buffer is freed after its end, and nothing is loaded again."""
    backend, fake = on_kv260(artefact)
    fake.fabric.lasts = 20
    interrupt(backend, monkeypatch)
    assert fake.fabric.running and fake.buffers[0].freed == 0
    backend.close()
    assert not fake.fabric.running and fake.buffers[0].freed == 1 and len(fake.loaded) == 1


def test_close_waits_for_the_card(artefact: Artefact, monkeypatch: pytest.MonkeyPatch):
    backend, fake = on_u280(artefact)
    fake.fabric.lasts = 20
    interrupt(backend, monkeypatch)
    backend.close()
    assert not fake.fabric.running
    del backend
    gc.collect()
    assert not fake.buffers


def test_a_bitstream_is_loaded_before_the_free(artefact: Artefact):
    backend, fake = on_kv260(artefact, limit=1000)
    fake.fabric.lasts = None
    with pytest.raises(DeviceError, match=r"no interrupt within 0 s .* STATUS 0x1"), backend:
        backend.run(ONE)
    assert fake.loaded == ["trine_kv260.bit"] * 2 and fake.buffers[0].freed == 1


@pytest.mark.parametrize("known", [False, True], ids=["no bitstream", "it does not load"])
def test_a_buffer_is_kept(artefact: Artefact, known: bool):
    """Where nothing stops the machine, close says so, with the error before it; later it may be closed."""
    if known:
        backend, fake = on_kv260(artefact, limit=1000)
        fake.broken["download"] = RuntimeError("fpga manager: timeout")
    else:
        fake = FakePynq(artefact.machine)
        backend = opened_again(artefact, fake)
    fake.fabric.lasts = None
    with pytest.raises(DeviceError, match=r"still runs.* is kept.*no interrupt within 0 s") as found, backend:
        backend.run(ONE)
    assert ("fpga manager: timeout" in str(found.value)) == known
    assert fake.buffers[0].freed == 0
    fake.fabric.running = False
    backend.close()
    assert fake.buffers[0].freed == 1


def test_a_reload_that_does_not_stop_it(artefact: Artefact, monkeypatch: pytest.MonkeyPatch):
    """What the load says is not believed: STATUS is read again."""
    backend, fake = on_kv260(artefact)
    fake.fabric.lasts = None
    interrupt(backend, monkeypatch)
    monkeypatch.setattr(fake, "_fresh", lambda: fake.fabric)
    with pytest.raises(DeviceError, match="is kept"):
        backend.close()
    assert fake.buffers[0].freed == 0


def test_a_cards_buffers_are_kept(artefact: Artefact, monkeypatch: pytest.MonkeyPatch):
    """XRT's buffers are freed by Python, so somebody must hold them."""
    backend, fake = on_u280(artefact)
    fake.fabric.lasts = None
    interrupt(backend, monkeypatch)
    with pytest.raises(DeviceError, match=r"still runs.* is kept.*xbutil reset"):
        backend.close()
    del backend
    gc.collect()
    assert len(fake.buffers) == fake.banks


def test_registers_that_cannot_be_read(artefact: Artefact, monkeypatch: pytest.MonkeyPatch):
    """A card that fell off the bus within a run may still run."""
    backend, fake = on_u280(artefact)
    fake.fabric.lasts = None
    interrupt(backend, monkeypatch)
    fake.broken["read_register"] = RuntimeError("device is gone")
    with pytest.raises(DeviceError, match=r"device is gone.* is kept"):
        backend.close()


def test_registers_that_read_as_ones(artefact: Artefact, monkeypatch: pytest.MonkeyPatch):
    """What a bus gives where nobody answers is no interrupt, and no machine at rest."""
    backend, fake = on_u280(artefact)
    backend.limit, fake.fabric.lasts = 1000, None
    write = fake.fabric.write

    def gone(index: int, value: int) -> None:
        write(index, value)
        if index == CONTROL and value & 1:
            monkeypatch.setattr(fake.fabric, "read", lambda index: 0xFFFF_FFFF)

    monkeypatch.setattr(fake.fabric, "write", gone)
    with pytest.raises(DeviceError, match=r"no interrupt within 0 s .* STATUS 0xffffffff"):
        backend.run(ONE)
    with pytest.raises(DeviceError, match=r"STATUS 0xffffffff after 1 s.* is kept"):
        backend.close()


# A run within a run.


@pytest.mark.parametrize("board", [on_kv260, on_u280])
def test_a_start_within_a_run(board, artefact: Artefact, monkeypatch: pytest.MonkeyPatch):
    """Nothing is written to a machine that runs; one that ends soon is waited for."""
    backend, fake = board(artefact)
    fake.fabric.lasts = None
    interrupt(backend, monkeypatch)
    monkeypatch.setattr("boards.runtime.session.SETTLE", 0.05)
    written = []
    monkeypatch.setattr(fake.fabric, "write", lambda *write: written.append(write))
    with pytest.raises(DeviceError, match=r"still runs .* before the start.*(load|xbutil)"):
        backend.run(ONE)
    assert not written
    monkeypatch.undo()
    fake.fabric.left, fake.fabric.lasts = 5, 0
    assert backend.run(ONE).tokens == Golden(artefact).run(ONE).tokens
    backend.close()


@pytest.mark.parametrize("board", [on_kv260, on_u280])
def test_a_machine_that_another_left_running(board, artefact: Artefact, monkeypatch: pytest.MonkeyPatch):
    """No memory is allocated, no bank moved, while the machine may write where its last memory was."""
    first, fake = board(artefact)
    fake.fabric.lasts = None
    interrupt(first, monkeypatch)
    bases, count = list(getattr(fake, "bases", [])), len(fake.buffers)
    monkeypatch.setattr("boards.runtime.session.SETTLE", 0.05)
    with pytest.raises(DeviceError, match=r"still runs .* before .* memory"):
        opened_again(artefact, fake)
    assert len(fake.buffers) == count and list(getattr(fake, "bases", [])) == bases
    monkeypatch.undo()
    fake.fabric.left, fake.fabric.lasts = 5, 0
    with opened_again(artefact, fake) as second:
        assert second.run(ONE).tokens == Golden(artefact).run(ONE).tokens
    first.close()


# What a driver says.


@pytest.mark.parametrize(
    ("call", "error", "remedy"),
    [
        ("Bitstream", FileNotFoundError("no trine_kv260.bit"), "as root.*trine_kv260.bit"),
        ("download", RuntimeError("No Devices Found"), "as root"),
        ("MMIO", OSError("Root permissions required."), "as root"),
        ("allocate", RuntimeError("Failed to allocate memory"), "cma="),
    ],
)
def test_errors_of_pynq(artefact: Artefact, call: str, error: Exception, remedy: str):
    fake = FakePynq(artefact.machine)
    fake.broken[call] = error
    image = initial_memory(artefact, seed=11)
    with pytest.raises(DeviceError, match=f"{re.escape(str(error))}.*{remedy}") as found:
        open_kv260(kv260_map(artefact), image, artefact.machine, Path("trine_kv260.bit"), pynq=fake)
    assert found.value.__cause__ is error and all(buffer.freed for buffer in fake.buffers)


@pytest.mark.parametrize(
    ("call", "error", "remedy"),
    [
        ("device", RuntimeError("Could not open device with index '0'"), "xbutil examine"),
        ("load_xclbin", RuntimeError("load_axlf: Operation not permitted"), "platform.*trine.xclbin"),
        ("ip", RuntimeError("failed to find matching CUs"), "trine.xclbin"),
        ("bo", RuntimeError("unable to allocate bo"), "another program"),
        ("write_register", RuntimeError("exclusive access"), "xbutil reset"),
        ("read_register", RuntimeError("exclusive access"), "xbutil reset"),
    ],
)
def test_errors_of_xrt(artefact: Artefact, call: str, error: Exception, remedy: str):
    image = initial_memory(artefact, seed=11)
    fake = FakeXrt(artefact.machine, 4, len(image))
    fake.broken[call] = error
    place = AddressMap.of(artefact.machine, 0, 0, 4 * U280_BANK, 4)
    with pytest.raises(DeviceError, match=f"{re.escape(str(error))}.*{remedy}") as found:
        open_u280(place, image, artefact.machine, Path("trine.xclbin"), pyxrt=fake)
    assert found.value.__cause__ is error
