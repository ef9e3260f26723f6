"""Requests to the link's device by hand, also those that the host program would never send."""

import os
import select
import struct
import time

from boards.link_protocol import FLAG, REPLY_WORDS, decode, encode

from .link_bench import COUNT

#: Seconds: the machine that runs the tests may be busy.
PATIENCE = 60


class Wire:
    """The device's port, frame by frame; AssertionError where the device sends a damaged one."""

    def __init__(self, port: str):
        self.fd, self.buffer = os.open(port, os.O_RDWR | os.O_NOCTTY), b""

    def send(
        self,
        command: int,
        sequence: int,
        address: int = 0,
        count: int = 0,
        data: bytes = b"",
        session: int = 7,
    ):
        self.raw(encode(struct.pack("<BBHIII", command, 0, sequence, session, address, count) + data))

    def raw(self, data: bytes) -> None:
        os.write(self.fd, data)

    def reply(self, wait: float = PATIENCE) -> tuple[int, int, bytes] | None:
        """(status, sequence, data) of the next frame."""
        end = time.monotonic() + wait
        while time.monotonic() < end:
            body, flag, rest = self.buffer.partition(bytes((FLAG,)))
            if flag:
                self.buffer = rest
                if not body:
                    continue
                payload = decode(body)
                assert payload is not None, "the board sent a damaged frame"
                _, status, sequence, _ = struct.unpack_from("<BBHI", payload)
                return status, sequence, payload[4 * REPLY_WORDS :]
            if select.select([self.fd], [], [], 0.05)[0]:
                self.buffer += os.read(self.fd, 4096)
        return None


def csr(*operations: tuple[int, int]) -> bytes:
    """The data of a CSR request."""
    return b"".join(struct.pack("<II", *operation) for operation in operations)


#: Adds 1 to `COUNT` and reads it.
ADD = csr((1 << 31 | COUNT, 1), (COUNT, 0))
