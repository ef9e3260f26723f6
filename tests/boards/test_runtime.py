"""Host programs of KV260 and U280 against registers and memories in software: equal to the golden model."""

import dataclasses
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from boards.runtime.kv260 import open_kv260
from boards.runtime.session import DeviceError, MappedSession
from boards.runtime.u280 import BankedMemory, open_u280
from boards.vendor.address_map import U280_BANK, AddressMap
from compiler.compile import compile_model
from hw.artefact import Artefact
from hw.isa import CSR_INDEX
from hw.machine import CI, KV260, MachineConfig
from sim.backend import Request
from sim.backends import Golden, Isa
from sim.device_backend import is_device, open_device
from sim.entries import Entry
from sim.errors import SimulationError
from sim.lockstep import run_lockstep
from sim.memory_image import initial_memory
from sim.register_backend import RegisterBackend
from tests.models.random_model import random_model

from .fake_drivers import FakePynq, FakeXrt

PROMPT = [1, 7, 3, 29, 5, 5, 11, 0, 30, 2, 17]
CONTROL, SIZE = 0xA000_0000, 0x8000_0000


def compiled(machine: MachineConfig) -> Artefact:
    model = random_model(1, dim=64, hidden=96, heads=4, kv_heads=2, vocab=70, tied=False)
    return compile_model(model, b"", machine, vectors=False)


@pytest.fixture(scope="module")
def artefact() -> Artefact:
    return compiled(CI)


def kv260_map(artefact: Artefact) -> AddressMap:
    return AddressMap.of(artefact.machine, CONTROL, 0, SIZE)


def on_kv260(artefact: Artefact, **more) -> tuple[RegisterBackend, FakePynq]:
    fake = FakePynq(artefact.machine)
    image = initial_memory(artefact, seed=11)
    session, base = open_kv260(
        kv260_map(artefact), image, artefact.machine, Path("trine_kv260.bit"), pynq=fake
    )
    return RegisterBackend(session, artefact, memory_base=base, **more), fake


def on_u280(artefact: Artefact, banks: int = 4) -> tuple[RegisterBackend, FakeXrt]:
    image = initial_memory(artefact, seed=11)
    fake = FakeXrt(artefact.machine, banks, len(image))
    place = AddressMap.of(artefact.machine, 0, 0, banks * U280_BANK, banks)
    session, base = open_u280(place, image, artefact.machine, Path("trine.xclbin"), pyxrt=fake)
    return RegisterBackend(session, artefact, memory_base=base), fake


@pytest.mark.parametrize("board", [on_kv260, on_u280])
@pytest.mark.parametrize(
    ("machine", "chunk", "tile", "steps"),
    [(CI, 1, 1, 1), (CI, 11, 4, 12), (KV260, 5, 3, 4)],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_a_board_agrees(board, machine: MachineConfig, chunk: int, tile: int, steps: int):
    """Tokens, logits, KV rows, ranked tokens, exact counters and all bytes of memory."""
    artefact = compiled(machine)
    backend, _ = board(artefact)
    with backend:
        backends = [Golden(artefact), Isa(artefact, seed=11), backend]
        result = run_lockstep(
            backends, PROMPT, 12, artefact.config["layers"], chunk=chunk, tile=tile, steps=steps
        )
    assert result.difference is None, str(result.difference)
    assert len(result.tokens) == 12 and len(set(result.tokens)) > 1


def test_the_machine_sees_what_was_flushed(artefact: Artefact):
    """The image and restored rows reach the device, the bitstream is loaded, the buffer is freed once."""
    backend, fake = on_kv260(artefact)
    assert fake.loaded == ["trine_kv260.bit"] and fake.windows == [(CONTROL, 0x10000)]
    (buffer,) = fake.buffers
    backend.run(Request([Entry(1, 0)]))
    rows = [[backend.kv(layer, 0)] for layer in range(artefact.config["layers"])]
    backend.restore(1, rows)
    backend.run(Request([Entry(2, 1)]))
    assert (backend.kv(0, 0).k == rows[0][0].k).all()
    assert (np.asarray(buffer.seen) == np.asarray(buffer)).all()
    backend.close()
    backend.close()
    assert buffer.freed == 1


def test_only_what_changed_crosses_pcie(artefact: Artefact):
    backend, fake = on_u280(artefact)
    backend.run(Request([Entry(1, 0)]))
    image = -(-len(backend.session.memory) // 4096) * 4096
    assert fake.moved["to"] == image
    backend.run(Request([Entry(2, 1)]))
    assert fake.moved["to"] == image and fake.moved["from"] == 0
    backend.kv(0, 1)
    assert 0 < fake.moved["from"] <= 4 * 4096


def test_banked_memory_is_an_array():
    """Random slices against a plain array; a write of part of a page keeps the rest."""
    rng, size = np.random.default_rng(3), 5 * 4096 + 100
    fake = FakeXrt(CI, 4, size)
    buffers = [fake.bo(None, 2 * 4096, 0, i) for i in range(4)]
    memory = BankedMemory(buffers, size, "to", "from")
    plain = rng.integers(0, 256, size, np.uint8)
    memory[:] = plain
    for _ in range(200):
        start, stop = sorted(rng.integers(0, size + 1, 2))
        if rng.random() < 0.5:
            plain[start:stop] = values = rng.integers(0, 256, stop - start, np.uint8)
            memory[start:stop] = values
        assert (memory[start:stop] == plain[start:stop]).all()
        if rng.random() < 0.3:
            memory.to_device()
            memory.from_device()
    memory.to_device()
    for i, buffer in enumerate(buffers):
        for row in range(2):
            page = 4 * row + i
            held = fake.memory[buffer.address()][4096 * row :][: max(0, min(4096, size - 4096 * page))]
            assert (held == plain[4096 * page :][:4096]).all()


# What is refused.


def test_another_machine_is_refused(artefact: Artefact):
    other = dataclasses.replace(artefact.machine, name="other", fifo_words=1024)
    fake = FakePynq(other)
    image = initial_memory(artefact, seed=1)
    with pytest.raises(DeviceError, match=f"wanted machine {artefact.machine.name} .* found other"):
        open_kv260(AddressMap.of(other, CONTROL, 0, SIZE), image, artefact.machine, pynq=fake)
    # The project says the right thing, but another bitstream is loaded.
    session, base = open_kv260(kv260_map(artefact), image, artefact.machine, pynq=fake)
    with pytest.raises(SimulationError, match=r"CSR MACHINE: wanted .* found .* build the bitstream"):
        RegisterBackend(session, artefact, memory_base=base)
    assert fake.buffers[-1].freed == 1


@pytest.mark.parametrize("start", [0x3000_0004, 0x7FFF_FFC0, 0x8_0000_0000])
def test_a_buffer_the_ports_cannot_reach(artefact: Artefact, start: int):
    fake = FakePynq(artefact.machine, start)
    image = initial_memory(artefact, seed=1)
    with pytest.raises(DeviceError, match=r"wanted .* bytes of contiguous memory below 0x80000000"):
        open_kv260(kv260_map(artefact), image, artefact.machine, pynq=fake)
    assert fake.buffers[-1].freed == 1


def test_a_model_larger_than_the_banks(artefact: Artefact):
    place = AddressMap.of(artefact.machine, 0, 0, 4096, 4)
    with pytest.raises(DeviceError, match="wanted at most 4,096 bytes"):
        open_u280(place, initial_memory(artefact), artefact.machine, Path("x"), pyxrt=object())


def test_a_machine_that_hangs(artefact: Artefact, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("boards.runtime.session._GRACE", 0.05)
    backend, fake = on_kv260(artefact, limit=1000)
    fake.hang = True
    with pytest.raises(DeviceError, match=r"no interrupt within 0 s .* STATUS 0x0, GENERATED 0x0"):
        backend.run(Request([Entry(1, 0)]))


def test_a_pending_interrupt_is_refused(artefact: Artefact):
    backend, _ = on_kv260(artefact)
    backend.run(Request([Entry(1, 0)]))
    assert isinstance(backend.session, MappedSession)
    with pytest.raises(DeviceError, match="pending before the start"):
        backend.session.run([(CSR_INDEX["CONTROL"], 1)])


@pytest.mark.parametrize("package", ["pynq", "pyxrt"])
def test_a_missing_driver_is_named(artefact: Artefact, package: str):
    if importlib.util.find_spec(package):
        pytest.skip(f"SKIPPED ALOUD: {package} is installed")
    image = initial_memory(artefact)
    place = AddressMap.of(artefact.machine, CONTROL, 0, SIZE, 4)
    call = open_kv260 if package == "pynq" else open_u280
    with pytest.raises(DeviceError, match=f"wanted .*{package}.*, found none"):
        call(place, image, artefact.machine, Path("x"))


# By the name that the command line takes.


@pytest.mark.parametrize("board", ["kv260", "u280"])
def test_a_board_by_its_folder(artefact: Artefact, board: str, tmp_path: Path):
    """The project's address map and the tool's product are found; the run is the golden model's."""
    port = f"{board}:{tmp_path}"
    assert is_device(port) and not is_device("/dev/ttyUSB0") and not is_device("COM3:")
    with pytest.raises(DeviceError, match=f"address_map.json, found none; .* trine build --board {board}"):
        open_device(artefact, port)
    if board == "kv260":
        place, driver = kv260_map(artefact), FakePynq(artefact.machine)
    else:
        place = AddressMap.of(artefact.machine, 0, 0, 4 * U280_BANK, 4)
        driver = FakeXrt(artefact.machine, 4, len(initial_memory(artefact)))
    (tmp_path / "address_map.json").write_text(json.dumps(place.to_json()))
    with pytest.raises(DeviceError, match=f"found none; build it .*docs/boards/{board}.md"):
        open_device(artefact, port)
    product = tmp_path / {"kv260": "trine_kv260.bit", "u280": "trine.xclbin"}[board]
    product.write_bytes(b"")
    with open_device(artefact, port, driver) as device:
        found = device.run(Request([Entry(1, 0)], steps=4))
        assert device.name == "board" and device.pace > 0
    assert driver.loaded == [str(product)]
    assert found.tokens == Golden(artefact).run(Request([Entry(1, 0)], steps=4)).tokens


def test_a_folder_with_a_broken_map(artefact: Artefact, tmp_path: Path):
    (tmp_path / "trine_kv260.bit").write_bytes(b"")
    for text in ("{", "{}", "[]"):
        (tmp_path / "address_map.json").write_text(text)
        with pytest.raises(DeviceError, match=r"address_map\.json"):
            open_device(artefact, f"kv260:{tmp_path}")
