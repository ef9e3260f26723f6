"""AXI4 manager port as Amaranth signatures (ARM IHI 0022, chapters A2 to A4).

Only what the overlay needs: one ID (all transactions in order), INCR bursts of full-width beats, so
``ID``, ``SIZE``, ``BURST``, ``LOCK``, ``CACHE``, ``PROT`` and ``QOS`` are constants of the wrapper.
"""

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

#: A burst may not cross a boundary of this many bytes (A3.4.1).
BOUNDARY = 4096
#: Beats in the longest INCR burst.
MAX_BEATS = 256
#: Width of every DRAM byte address.
ADDRESS_BITS = 32


def address_layout() -> data.StructLayout:
    """AR or AW payload: byte address (aligned to the data width) and beats - 1."""
    return data.StructLayout({"addr": ADDRESS_BITS, "len": 8})


def read_layout(data_bytes: int) -> data.StructLayout:
    """R payload: one beat, its response (0 = OKAY) and whether it ends its burst."""
    return data.StructLayout({"data": 8 * data_bytes, "resp": 2, "last": 1})


def write_layout(data_bytes: int) -> data.StructLayout:
    """W payload: one beat, its byte strobes and whether it ends its burst."""
    return data.StructLayout({"data": 8 * data_bytes, "strb": data_bytes, "last": 1})


class ReadPort(wiring.Signature):
    """AR and R channels, seen from the manager."""

    def __init__(self, data_bytes: int):
        super().__init__(
            {
                "ar": Out(stream.Signature(address_layout())),
                "r": In(stream.Signature(read_layout(data_bytes))),
            }
        )


class ReadPorts(wiring.Signature):
    """AR and R channels of `ports` managers side by side, port 0 lowest; one of them is a `ReadPort`.

    Members: ar.payload, ar.valid, ar.ready: Out(ArrayLayout(address_layout(), ports)), Out(ports), In(ports);
    r.payload, r.valid, r.ready: In(ArrayLayout(read_layout(data_bytes), ports)), In(ports), Out(ports).
    """

    def __init__(self, ports: int, data_bytes: int):
        def channel(payload: data.StructLayout) -> wiring.Signature:
            return wiring.Signature(
                {"payload": Out(data.ArrayLayout(payload, ports)), "valid": Out(ports), "ready": In(ports)}
            )

        super().__init__({"ar": Out(channel(address_layout())), "r": In(channel(read_layout(data_bytes)))})


class WritePort(wiring.Signature):
    """AW, W and B channels, seen from the manager; the B payload is its 2-bit response."""

    def __init__(self, data_bytes: int):
        super().__init__(
            {
                "aw": Out(stream.Signature(address_layout())),
                "w": Out(stream.Signature(write_layout(data_bytes))),
                "b": In(stream.Signature(2)),
            }
        )
