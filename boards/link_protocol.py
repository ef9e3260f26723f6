"""What host and device say to each other over the UART: frames, commands, words. docs/link.md is the prose.

A frame is that of PPP in HDLC-like framing (RFC 1662: flag 0x7E, escape 0x7D, 32-bit FCS, which is
`zlib.crc32`), without its address and control bytes; its payload is little-endian 32-bit words:

========  ========================================  ==========================================
word      request                                   reply
========  ========================================  ==========================================
0         command, 0, sequence number (16)          command | 0x80, status, sequence number
1         session                                   session
2         address (WRITE, READ, CRC); 0             first word of the result
3         count: bytes, or CSR operations           ..
4 ..      data                                      ..
========  ========================================  ==========================================
"""

import enum
import zlib

__all__ = ["FLAG", "HELLO_WORDS", "MAGIC", "MAX_DATA", "VERSION", "Command", "Status", "decode", "encode"]

FLAG, ESCAPE, FLIP = 0x7E, 0x7D, 0x20
#: Bytes of data in a frame at most.
MAX_DATA = 1024
#: Words before the data of a request and of a reply.
REQUEST_WORDS, REPLY_WORDS = 4, 2
#: First word of HELLO's result: 'TRNL', least significant byte first; then the version of this protocol.
MAGIC, VERSION = 0x4C4E5254, 1
#: Bit of the first word of a CSR operation (its address) that makes it a write of the second word.
CSR_WRITE = 1 << 31


class Command(enum.IntEnum):
    """Requests."""

    #: Begins a session: the nonce and the sequence number of the frame are those of the session.
    HELLO = 0
    #: `count` operations of 2 words {address, value}; a word of the result for each read.
    CSR = 1
    #: `count` bytes to memory at `address`, both multiples of 4, not over a 4 KiB boundary.
    WRITE = 2
    #: Likewise from memory.
    READ = 3
    #: CRC-32 of `count` bytes of memory at `address`, both multiples of 4; any number.
    CRC = 4
    #: Resets the machine and the memory controller; memory keeps its contents.
    RESET = 5


class Status(enum.IntEnum):
    """Byte 1 of a reply."""

    OK = 0
    #: A command, address or count that cannot be; nothing was done.
    BAD = 1
    #: Memory answered with an error.
    MEMORY = 2
    #: Memory did not answer; machine and memory controller were reset.
    TIMEOUT = 3


#: Words of HELLO's result.
HELLO_WORDS = ("magic", "version", "machine", "isa", "memory_bytes", "clock_khz", "max_data", "frames",
               "damaged", "sessions")  # fmt: skip


def encode(payload: bytes) -> bytes:
    """A frame, flags included."""
    body = bytearray()
    for byte in payload + zlib.crc32(payload).to_bytes(4, "little"):
        if byte in (FLAG, ESCAPE):
            body += bytes((ESCAPE, byte ^ FLIP))
        else:
            body.append(byte)
    return bytes((FLAG, *body, FLAG))


def decode(body: bytes) -> bytes | None:
    """The payload of what stood between two flags; None where it is damaged, or no frame."""
    plain, escaped = bytearray(), False
    for byte in body:
        if byte == ESCAPE and not escaped:
            escaped = True
            continue
        plain.append(byte ^ FLIP if escaped else byte)
        escaped = False
    if escaped or len(plain) < 4 * REPLY_WORDS + 4 or len(plain) % 4:
        return None
    payload, fcs = bytes(plain[:-4]), plain[-4:]
    return payload if zlib.crc32(payload).to_bytes(4, "little") == fcs else None
