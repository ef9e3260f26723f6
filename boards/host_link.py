"""The host's side of the link: requests in order, each until it is answered.

The window is go-back-N: frames after a lost one are dropped by the device, and all from it on are sent again.
The time after which a frame counts as lost follows the answers' times (Jacobson and Karels, 1988; RFC 6298).
"""

import contextlib
import itertools
import secrets
import struct
import termios
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import serial

from .errors import LinkError
from .link_protocol import FLAG, HELLO_WORDS, MAGIC, REPLY_WORDS, VERSION, Command, Status, decode, encode

__all__ = ["HostLink", "Request"]

#: Seconds: shortest and longest wait for an answer, the first one.
_LEAST, _MOST, _FIRST = 0.03, 3.0, 1.0
#: What a port can raise: gone or not allowed (OSError, also pyserial's), a baud rate that it cannot do.
_PORT_ERRORS = (OSError, ValueError, OverflowError, termios.error)
#: What may help against a status.
_REMEDIES: dict[int, str] = {
    Status.BAD: "does the model fit the board's memory?",
    Status.MEMORY: "does the model fit the board's memory? Check also its clock and supply",
    Status.TIMEOUT: "check the clock and supply of the board's memory, and run the command again",
}


@dataclass(frozen=True)
class Request:
    """One frame to the device; fields as in `boards.link_protocol`."""

    command: Command
    address: int = 0
    count: int = 0
    data: bytes = b""


@dataclass
class _Sent:
    sequence: int
    request: Request
    frame: bytes
    #: When it was sent; 0: it is to be sent. again: not for the first time.
    at: float = 0
    again: bool = False


class HostLink:
    """A session with the device on a serial port.

    Parameters
    ----------
    port, baud
        As pyserial takes them; also a pseudo-terminal.
    patience : float
        Seconds without any answer after which a request fails.
    window : int
        Requests of `stream` under way at once.

    Members
    -------
    identity : dict of str to int
        What HELLO said, by `HELLO_WORDS`.
    resent, damaged : int
        Frames sent again; frames received that were damaged.

    Every method raises `LinkError`: no port, no answer, an answer that refuses. Such an error ends the
    session: what the board has done of it is not known, and every later request raises too.
    """

    def __init__(self, port: str, baud: int, *, patience: float = 10, window: int = 8):
        self.port, self.baud, self.patience, self.window = port, baud, patience, window
        self.resent = self.damaged = 0
        self._mean, self._spread = _FIRST / 2, _FIRST / 8
        self._received = bytearray()
        self._serial: serial.Serial | None = None
        #: Why the session ended; what the port said when it was lost last.
        self._ended, self._trouble = "", ""
        try:
            self._open()
        except _PORT_ERRORS as error:
            raise LinkError(
                f"port: wanted a serial port, found none at {port} that does {baud} baud ({error}); name the "
                "board's, for instance --port /dev/ttyUSB0, see that you may use it (Debian: group dialout), "
                "and give the bitstream's --baud"
            ) from error
        try:
            self.identity = self._hello()
        except BaseException:
            self.close()
            raise

    def ask(self, request: Request) -> bytes:
        """Send one request; the data of its answer."""
        return self._exchange([request], 1, lambda count: None)

    def stream(
        self, requests: Iterable[Request], on_answer: Callable[[int], None] = lambda count: None
    ) -> None:
        """Send requests whose answers have no data. on_answer(n): so many more are answered."""
        self._exchange(requests, self.window, on_answer)

    def close(self) -> None:
        """Free the port. Safe to repeat."""
        if self._serial is not None:
            with contextlib.suppress(*_PORT_ERRORS):
                self._serial.close()
            self._serial = None

    def _open(self) -> serial.Serial:
        self.close()
        port = serial.Serial(self.port, self.baud, timeout=0.05, write_timeout=5, exclusive=True)
        self._serial = port
        return port

    def _opened(self) -> serial.Serial:
        return self._open() if self._serial is None else self._serial

    def _hello(self) -> dict[str, int]:
        """Begin a session under a new nonce; whatever is under way of older ones is of another nonce."""
        self._session, self._sequence = secrets.randbits(32), secrets.randbits(16)
        self._send(bytes((FLAG, FLAG)))
        data = self.ask(Request(Command.HELLO))
        words = struct.unpack(f"<{len(data) // 4}I", data)
        identity: dict[str, int] = dict(zip(map(str, HELLO_WORDS), words, strict=False))
        if len(words) != len(HELLO_WORDS) or (identity["magic"], identity["version"]) != (MAGIC, VERSION):
            raise LinkError(
                f"{self.port}: wanted link version {VERSION}, found words {[hex(w) for w in words[:2]]}; "
                "load the bitstream of this version of Trine"
            )
        return identity

    def _exchange(self, requests: Iterable[Request], window: int, on_answer: Callable[[int], None]) -> bytes:
        if self._ended:
            raise LinkError(f"{self.port}: run the command again; the session ended: {self._ended}")
        try:
            return self._go_back_n(requests, window, on_answer)
        except LinkError as error:
            self._ended = str(error)
            raise

    def _go_back_n(self, requests: Iterable[Request], window: int, on_answer: Callable[[int], None]) -> bytes:
        todo, waiting = iter(requests), deque[_Sent]()
        progress, factor, allowed = time.monotonic(), 1.0, window
        data = b""
        while True:
            for request in itertools.islice(todo, window - len(waiting)):
                waiting.append(self._begin(request))
            if not waiting:
                return data
            for sent in itertools.islice(waiting, allowed):
                if sent.at == 0:
                    self._send(sent.frame)
                    sent.at = time.monotonic()
            longest = sum(len(sent.frame) for sent in waiting if sent.at) * 10 / self.baud
            wait = min(_MOST, max(_LEAST, self._mean + 4 * self._spread) * factor) + longest
            payload = self._receive(time.monotonic() + wait)
            found = None if payload is None else self._match(payload, waiting)
            if found is not None:
                answered, data = found
                progress, factor, allowed = time.monotonic(), 1.0, min(window, 2 * allowed)
                on_answer(answered)
            elif payload is None or (self._missing(payload, waiting) and not waiting[0].again):
                if time.monotonic() - progress > self.patience:
                    raise LinkError(
                        f"{self.port}: no answer to {waiting[0].request.command.name} for "
                        f"{self.patience:g} s at {self.baud} baud; is the board on, its bitstream loaded, "
                        "the cable in, the baud rate right, and no other program on the port?" + self._trouble
                    )
                factor = 2 * factor if payload is None else 1.0
                allowed = max(1, allowed // 2)
                for sent in waiting:
                    self.resent += sent.at != 0
                    sent.at, sent.again = 0, True

    def _missing(self, payload: bytes, waiting: deque[_Sent]) -> bool:
        """Whether an answer says that the request before the oldest of `waiting` is the newest that came."""
        _, _, sequence, session = struct.unpack_from("<BBHI", payload)
        return session == self._session and (waiting[0].sequence - sequence) & 0xFFFF == 1

    def _begin(self, request: Request) -> _Sent:
        self._sequence = (self._sequence + 1) & 0xFFFF
        head = struct.pack("<BBHIII", request.command, 0, self._sequence, self._session, request.address,
                           request.count)  # fmt: skip
        return _Sent(self._sequence, request, encode(head + request.data))

    def _match(self, payload: bytes, waiting: deque[_Sent]) -> tuple[int, bytes] | None:
        """How many of `waiting` (taken off) the answer is for, and its data; None: it is of another time."""
        command, status, sequence, session = struct.unpack_from("<BBHI", payload)
        behind = (sequence - waiting[0].sequence) & 0xFFFF
        if (
            session != self._session
            or behind >= len(waiting)
            or command != waiting[behind].request.command | 0x80
        ):
            return None
        for _ in range(behind + 1):
            sent = waiting.popleft()
        request = sent.request
        if status != Status.OK:
            name = next((one.name for one in Status if one == status), str(status))
            raise LinkError(
                f"{self.port}: the board refused {request.command.name} of {request.count} at "
                f"{request.address:#x}: {name}; {_REMEDIES.get(status, 'load the bitstream of this version')}"
            )
        if not sent.again:  # whose answer is it, if it was sent twice?
            took = time.monotonic() - sent.at
            self._spread += (abs(took - self._mean) - self._spread) / 4
            self._mean += (took - self._mean) / 8
        return behind + 1, payload[4 * REPLY_WORDS :]

    def _send(self, data: bytes) -> None:
        try:
            self._opened().write(data)
        except _PORT_ERRORS as error:
            self._lost(error)

    def _receive(self, deadline: float) -> bytes | None:
        """The next whole frame until then."""
        while time.monotonic() < deadline:
            end = self._received.find(FLAG)
            if end >= 0:
                body = bytes(self._received[:end])
                del self._received[: end + 1]
                if not body:
                    continue
                payload = decode(body)
                if payload is not None:
                    return payload
                self.damaged += 1
                continue
            try:
                port = self._opened()
                self._received += port.read(max(1, port.in_waiting))
            except _PORT_ERRORS as error:
                self._lost(error)
        return None

    def _lost(self, error: Exception) -> None:
        """The port is gone (a cable was pulled): it is opened again when it is back."""
        self._trouble = f" The port said: {error}"
        self.close()
        time.sleep(0.1)
