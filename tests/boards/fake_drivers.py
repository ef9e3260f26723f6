"""Stand-ins for `pynq` and `pyxrt`: host and device have each their own copy of a buffer, as with caches and
cards, and the machine behind the registers is a `sim.register_file.RegisterFile`.

They share no code with the runtime: what they expect is written from the packages' documentation.
"""

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

    def flush(self) -> None:
        self.seen[:] = self

    def invalidate(self) -> None:
        self[:] = self.seen

    def freebuffer(self) -> None:
        self.freed += 1


class FakePynq:
    """A KV260 with one machine; `start` is where its next buffer lies."""

    def __init__(self, machine: MachineConfig, start: int = 0x3000_0000):
        self.machine, self.start = machine, start
        self.buffers: list[Buffer] = []
        self.loaded: list[str] = []
        self.windows: list[tuple[int, int]] = []
        self.hang = False

    def Bitstream(self, path: str) -> SimpleNamespace:  # noqa: N802  PYNQ's name
        return SimpleNamespace(download=lambda: self.loaded.append(path))

    def allocate(self, shape: tuple[int], dtype: type) -> Buffer:
        buffer = np.random.default_rng(1).integers(0, 256, shape, dtype).view(Buffer)
        buffer.seen = np.random.default_rng(2).integers(0, 256, shape, dtype)
        buffer.physical_address, buffer.freed = self.start, 0
        self.buffers.append(buffer)
        return buffer

    def MMIO(self, base: int, length: int) -> SimpleNamespace:  # noqa: N802
        self.windows.append((base, length))
        buffer = self.buffers[-1]
        file = RegisterFile(self.machine, lambda: buffer.seen, buffer.physical_address)

        def place(offset: int) -> int:
            assert offset % 4 == 0 and 0 <= offset < length
            return offset // 4

        def write(offset: int, value: int) -> None:
            if not (self.hang and place(offset) == CSR_INDEX["CONTROL"]):
                file.write(place(offset), value)

        return SimpleNamespace(read=lambda offset: file.read(place(offset)), write=write)


class FakeXrt:
    """A card with one machine over `banks` banks, at addresses that have nothing to do with each other."""

    xclBOSyncDirection = SimpleNamespace(  # noqa: N815
        XCL_BO_SYNC_BO_TO_DEVICE="to", XCL_BO_SYNC_BO_FROM_DEVICE="from"
    )

    def __init__(self, machine: MachineConfig, banks: int, size: int):
        self.machine, self.banks, self.size = machine, banks, size
        self.loaded: list[str] = []
        self.moved = {"to": 0, "from": 0}
        self.memory: dict[int, np.ndarray] = {}
        outer = self

        class Bo:
            normal = 0

            def __init__(self, card: object, size: int, flags: int, group: int):
                assert size % 4096 == 0 and flags == Bo.normal and 0 <= group < banks
                self.host = np.full(size, 0xA5, np.uint8)
                self.place = (group << 28) + 0x10_0000 * (3 * group + 1) + (1 << 32) * (group % 2)
                outer.memory[self.place] = np.full(size, 0x5A, np.uint8)

            def map(self) -> memoryview:
                return memoryview(self.host)

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

    def device(self, number: int) -> SimpleNamespace:
        assert number == 0
        return SimpleNamespace(load_xclbin=lambda path: self.loaded.append(path) or "uuid")

    def ip(self, card: object, uuid: str, name: str) -> SimpleNamespace:
        assert uuid == "uuid" and name == "trine:{trine_1}"
        linear = np.zeros(self.size, np.uint8)
        file = RegisterFile(self.machine, lambda: linear)
        bases = [0] * (2 * self.banks)

        def pages():
            """(page of the machine's memory, bytes on the card)"""
            for page in range(-(-self.size // 4096)):
                bank, row = page % self.banks, page // self.banks
                base = bases[2 * bank] | bases[2 * bank + 1] << 32
                yield slice(4096 * page, 4096 * (page + 1)), self.memory[base][4096 * row : 4096 * (row + 1)]

        def write(offset: int, value: int) -> None:
            if offset >= 0x4000:
                bases[(offset - 0x4000) // 4] = value
                return
            runs = offset == 4 * CSR_INDEX["CONTROL"] and value & 1
            if runs:
                for span, held in pages():
                    linear[span] = held[: len(linear[span])]
            file.write(offset // 4, value)
            if runs:
                for span, held in pages():
                    held[: len(linear[span])] = linear[span]

        return SimpleNamespace(write_register=write, read_register=lambda offset: file.read(offset // 4))
