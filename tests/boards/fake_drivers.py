"""Stand-ins for `pynq` and `pyxrt`: host and device have each their own copy of a buffer, as with caches and
cards, and the machine behind the registers is a `sim.register_file.RegisterFile`.

They share no code with the runtime: what they expect is written from the packages' documentation. The
machine outlives who opened it, as in a fabric: loading its bitstream resets it, a card's image that is there
already is not loaded again. Memory that is given back while the machine runs is an AssertionError.
"""

import weakref
from types import SimpleNamespace

import numpy as np

from hw.isa import CSR_INDEX
from hw.machine import MachineConfig
from sim.register_file import RegisterFile


class Buffer(np.ndarray):
    """As pynq.buffer.PynqBuffer: an array with an address; the device sees what was flushed."""

    seen: np.ndarray
    physical_address: int
    freed: int
    fabric: RegisterFile

    def flush(self) -> None:
        self.seen[:] = self

    def invalidate(self) -> None:
        self[:] = self.seen

    def freebuffer(self) -> None:
        assert not self.fabric.running, "the buffer is freed while the machine runs"
        self.freed += 1


class FakePynq:
    """A KV260 with one machine; `start` is where its next buffer lies.

    fabric: the registers. hang: doorbells are lost. broken: name and exception of calls that fail.
    """

    def __init__(self, machine: MachineConfig, start: int = 0x3000_0000):
        self.machine, self.start = machine, start
        self.buffers: list[Buffer] = []
        self.loaded: list[str] = []
        self.windows: list[tuple[int, int]] = []
        self.hang = False
        self.broken: dict[str, Exception] = {}
        self.fabric = self._fresh()

    def _fresh(self) -> RegisterFile:
        return RegisterFile(self.machine, lambda: self.buffers[-1].seen, self.start)

    def _may_fail(self, call: str) -> None:
        if call in self.broken:
            raise self.broken[call]

    def Bitstream(self, path: str) -> SimpleNamespace:  # noqa: N802  PYNQ's name
        def download() -> None:
            self._may_fail("download")
            self.loaded.append(path)
            self.fabric = self._fresh()
            for buffer in self.buffers:
                buffer.fabric = self.fabric

        self._may_fail("Bitstream")
        return SimpleNamespace(download=download)

    def allocate(self, shape: tuple[int], dtype: type) -> Buffer:
        self._may_fail("allocate")
        buffer = np.random.default_rng(1).integers(0, 256, shape, dtype).view(Buffer)
        buffer.seen = np.random.default_rng(2).integers(0, 256, shape, dtype)
        buffer.physical_address, buffer.freed, buffer.fabric = self.start, 0, self.fabric
        self.buffers.append(buffer)
        return buffer

    def MMIO(self, base: int, length: int) -> SimpleNamespace:  # noqa: N802
        self._may_fail("MMIO")
        self.windows.append((base, length))

        def place(offset: int) -> int:
            assert offset % 4 == 0 and 0 <= offset < length
            return offset // 4

        def write(offset: int, value: int) -> None:
            if not (self.hang and place(offset) == CSR_INDEX["CONTROL"]):
                self.fabric.write(place(offset), value)

        return SimpleNamespace(read=lambda offset: self.fabric.read(place(offset)), write=write)


class FakeXrt:
    """A card with one machine over `banks` banks, at addresses that have nothing to do with each other.

    fabric: the registers. bases: the bank registers. buffers: those that are not freed (by Python, as XRT's).
    broken: name and exception of calls that fail.
    """

    xclBOSyncDirection = SimpleNamespace(  # noqa: N815
        XCL_BO_SYNC_BO_TO_DEVICE="to", XCL_BO_SYNC_BO_FROM_DEVICE="from"
    )

    def __init__(self, machine: MachineConfig, banks: int, size: int):
        self.machine, self.banks, self.size = machine, banks, size
        self.loaded: list[str] = []
        self.moved = {"to": 0, "from": 0}
        self.memory: dict[int, np.ndarray] = {}
        self.linear = np.zeros(size, np.uint8)
        self.fabric = RegisterFile(machine, lambda: self.linear)
        self.bases = [0] * (2 * banks)
        self.buffers: weakref.WeakSet[object] = weakref.WeakSet()
        self.broken: dict[str, Exception] = {}
        outer = self

        class Bo:
            normal = 0

            def __init__(self, card: object, size: int, flags: int, group: int):
                outer._may_fail("bo")
                outer.buffers.add(self)
                assert size % 4096 == 0 and flags == Bo.normal and 0 <= group < banks
                self.host = np.full(size, 0xA5, np.uint8)
                self.place = (group << 28) + 0x10_0000 * (3 * group + 1) + (1 << 32) * (group % 2)
                outer.memory[self.place] = np.full(size, 0x5A, np.uint8)

            def map(self) -> memoryview:
                return self.host.data

            def address(self) -> int:
                return self.place

            def sync(self, direction: str, size: int, offset: int) -> None:
                assert size > 0 and offset + size <= len(self.host)
                span, device = slice(offset, offset + size), outer.memory[self.place]
                outer.moved[direction] += size
                if direction == "to":
                    device[span] = self.host[span]
                else:
                    self.host[span] = device[span]

        self.bo = Bo

    def _may_fail(self, call: str) -> None:
        if call in self.broken:
            raise self.broken[call]

    def device(self, number: int) -> SimpleNamespace:
        self._may_fail("device")
        assert number == 0

        def load(path: str) -> str:
            self._may_fail("load_xclbin")
            self.loaded.append(path)
            return "uuid"

        return SimpleNamespace(load_xclbin=load)

    def _pages(self):
        """(page of the machine's memory, bytes on the card)"""
        for page in range(-(-self.size // 4096)):
            bank, row = page % self.banks, page // self.banks
            base = self.bases[2 * bank] | self.bases[2 * bank + 1] << 32
            held = self.memory[base][4096 * row : 4096 * (row + 1)]
            span = slice(4096 * page, 4096 * (page + 1))
            yield held[: len(self.linear[span])], self.linear[span]

    def ip(self, card: object, uuid: str, name: str) -> SimpleNamespace:
        self._may_fail("ip")
        assert uuid == "uuid" and name == "trine:{trine_1}"
        fabric = self.fabric

        def write(offset: int, value: int) -> None:
            self._may_fail("write_register")
            if offset >= 0x4000:
                assert not fabric.running, "a bank is moved while the machine runs"
                self.bases[(offset - 0x4000) // 4] = value
                return
            runs = offset == 4 * CSR_INDEX["CONTROL"] and value & 1 and not fabric.running
            if runs:
                for held, linear in self._pages():
                    linear[:] = held
            fabric.write(offset // 4, value)
            if runs and not fabric.running:
                self._end()

        def read(offset: int) -> int:
            self._may_fail("read_register")
            before = fabric.running
            value = fabric.read(offset // 4)
            if before and not fabric.running:
                self._end()
            return value

        return SimpleNamespace(write_register=write, read_register=read)

    def _end(self) -> None:
        for held, linear in self._pages():
            held[:] = linear
