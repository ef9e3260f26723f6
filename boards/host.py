"""A board as the host sees it: memory, registers, reset."""

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from .errors import LinkError
from .host_link import HostLink, Request
from .link_protocol import CSR_WRITE, MAX_DATA, Command

__all__ = ["BAUD", "BoardHost", "Loaded"]

#: Of the boards' bitstreams: the most that common USB serial chips can do (FT231X).
BAUD = 3_000_000
#: Bytes whose CRC is asked for at once.
_SEGMENT = 1 << 15


@dataclass(frozen=True)
class Loaded:
    """Bytes that `BoardHost.load` wrote, and those that were there already."""

    written: int
    kept: int


class BoardHost:
    """One board on a serial port.

    Parameters
    ----------
    port, baud, patience
        As of `HostLink`.

    Members
    -------
    link : HostLink
    """

    def __init__(self, port: str, baud: int = BAUD, *, patience: float = 10):
        self.link = HostLink(port, baud, patience=patience)

    def check(self, machine: str, name: str, isa: str, size: int) -> None:
        """LinkError unless the board is this machine (digest, name), of this ISA, with so much memory."""
        found = self.link.identity
        for what, wanted in (("isa", isa), ("machine", machine)):
            if found[what] != int(wanted[:8], 16):
                raise LinkError(
                    f"{self.link.port}: wanted {what} {wanted[:8]} (machine {name!r}), found "
                    f"{found[what]:08x} on the board; load the bitstream of the artefact's machine, or "
                    "compile for the board's machine"
                )
        if found["memory_bytes"] < size:
            raise LinkError(
                f"{self.link.port}: wanted {size} bytes of memory, found {found['memory_bytes']} on the "
                "board; compile with fewer --kv-rows, or take a smaller model"
            )

    def reset(self) -> None:
        """Reset machine and memory controller; memory keeps its contents."""
        self.link.ask(Request(Command.RESET))

    def csr(self, operations: Sequence[tuple[int, int | None]]) -> list[int]:
        """Operations {address, value to write or None} in order; what the reads gave. Addresses are words."""
        most, found = MAX_DATA // 8, []
        for at in range(0, len(operations), most):
            part = operations[at : at + most]
            words = [
                word
                for addr, value in part
                for word in ((addr, 0) if value is None else (addr | CSR_WRITE, value))
            ]
            data = self.link.ask(Request(Command.CSR, 0, len(part), struct.pack(f"<{len(words)}I", *words)))
            found += struct.unpack(f"<{len(data) // 4}I", data)
        return found

    def crc(self, address: int, count: int) -> int:
        """CRC-32 (`zlib.crc32`) that the board computes over its memory; multiples of 4."""
        return struct.unpack("<I", self.link.ask(Request(Command.CRC, address, count)))[0]

    def read(self, address: int, count: int) -> bytes:
        """Memory from any address on."""
        first, last = address & ~3, (address + count + 3) & ~3
        data = b"".join(
            self.link.ask(Request(Command.READ, at, size)) for at, size in _blocks(first, last - first)
        )
        return data[address - first : address - first + count]

    def write(
        self, address: int, data: bytes, on_written: Callable[[int], None] = lambda count: None
    ) -> None:
        """Memory from any address on. on_written(n): so many more bytes are there."""
        before, after = address & 3, -(address + len(data)) & 3
        if before or after:
            first, end = address - before, address + len(data) + after
            data = (self.read(first, 4)[:before] if before else b"") + data
            data += self.read(end - 4, 4)[4 - after :] if after else b""
            address = first
        sizes = [size for _, size in _blocks(address, len(data))]
        requests = (
            Request(Command.WRITE, at, size, data[at - address : at - address + size])
            for at, size in _blocks(address, len(data))
        )
        done = iter(sizes)
        self.link.stream(requests, lambda count: on_written(sum(next(done) for _ in range(count))))

    def load(self, image: bytes, on_progress: Callable[[int], None] = lambda count: None) -> Loaded:
        """Make memory from address 0 on hold `image` (filled up to 4 bytes with 0), and prove it by CRC.

        What is there already is left: a load that was cut goes on. on_progress(n): so many more bytes are
        there.
        """
        image += bytes(-len(image) % 4)
        written = kept = 0
        for at in range(0, len(image), _SEGMENT):
            part = image[at : at + _SEGMENT]
            wanted = zlib.crc32(part)
            if self.crc(at, len(part)) == wanted:
                kept += len(part)
                on_progress(len(part))
                continue
            self.write(at, part, on_progress)
            if (found := self.crc(at, len(part))) != wanted:
                raise LinkError(
                    f"{self.link.port}: wanted CRC {wanted:08x} of the {len(part)} bytes written at {at:#x}, "
                    f"found {found:08x}; the board's memory does not hold what is written: check its clock "
                    "and supply"
                )
            written += len(part)
        return Loaded(written, kept)

    def close(self) -> None:
        """Free the port. Safe to repeat."""
        self.link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _blocks(address: int, count: int) -> Iterator[tuple[int, int]]:
    """(address, bytes) of blocks that one frame holds, none over a multiple of `MAX_DATA`."""
    end = address + count
    while address < end:
        size = min(MAX_DATA - address % MAX_DATA, end - address)
        yield address, size
        address += size
