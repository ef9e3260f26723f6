"""The overlay with the pins that vendor tools know: AXI4-Lite in, AXI4 out, clock, reset, interrupt."""

from dataclasses import dataclass

from amaranth.back import verilog
from amaranth.hdl import (
    Cat,
    ClockDomain,
    ClockSignal,
    Const,
    Elaboratable,
    Instance,
    Module,
    Mux,
    ResetSignal,
    Signal,
    Value,
)
from amaranth.hdl._ir import PortDirection
from amaranth.lib import data

from hw.axi4 import address_layout, read_layout, write_layout
from hw.isa import CSR_ADDRESS_BITS
from hw.machine import MachineConfig

from ..axi_lite import AxiLiteRegisters
from .banks import Banks

__all__ = ["CONTROL_BITS", "OVERLAY", "AxiTop", "Names"]

#: Bits of a byte address on the AXI4-Lite port: the overlay's registers, then those of the banks.
CONTROL_BITS = 16
#: Name of the module of the machine inside.
OVERLAY = "overlay"
#: 0b0011: normal memory, not cacheable, bufferable (A4.4); what the ports of both families ask for.
_CACHE = 0b0011
_INCR = 0b01


@dataclass(frozen=True)
class Names:
    """What a tool wants pins to be called."""

    top: str
    clock: str
    reset: str
    interrupt: str
    control: str
    #: Of port i: this, then i.
    memory: str = "m_axi_"
    #: Bits of the address of a memory port.
    address_bits: int = 40


class AxiTop(Elaboratable):
    """Wraps the module `overlay` of a machine; the module's text is not part of this one's.

    Registers of the overlay stand at byte 4 * index. With `banks` the memory of the machine is cut into pages
    of 4 KiB that lie in so many memories in turn (`Banks`); their base addresses are registers too.

    Everything that AXI4 has and the overlay does not say is constant: one ID (no ID pins), INCR bursts of
    full-width beats, normal memory that may be buffered, unprivileged secure data, no QoS. Port 0 reads and
    writes, the others read.

    Parameters
    ----------
    machine : MachineConfig
    names : Names
    banks : int
        0: memory is one piece, and the address of the machine is that of the port.

    Members
    -------
    pins : dict of str to (Signal, "i" or "o")
        All ports by name, in order.
    attributes : dict of str to dict
        What a port says of its interface, for the block design of Vivado.
    words : int
        Registers on the AXI4-Lite port.
    """

    def __init__(self, machine: MachineConfig, names: Names, banks: int = 0):
        self.machine, self.names, self.banks = machine, names, banks
        self.port_bytes = machine.bus_bytes // machine.ports
        self.words = (1 << CSR_ADDRESS_BITS) + 2 * banks
        self.pins: dict[str, tuple[Signal, str]] = {}
        self.attributes: dict[str, dict[str, str]] = {}
        self._clock_pins()
        self._control_pins()
        for port in range(machine.ports):
            self._memory_pins(port)

    def _pin(self, name: str, bits: int, way: str, interface: str) -> None:
        self.pins[name] = (Signal(bits, name=name), way)
        self.attributes[name] = {"X_INTERFACE_INFO": interface}

    def _clock_pins(self) -> None:
        n = self.names
        self._pin(n.clock, 1, "i", f"xilinx.com:signal:clock:1.0 {n.clock} CLK")
        self._pin(n.reset, 1, "i", f"xilinx.com:signal:reset:1.0 {n.reset} RST")
        self._pin(n.interrupt, 1, "o", f"xilinx.com:signal:interrupt:1.0 {n.interrupt} INTERRUPT")
        memories = [f"{n.memory}{i}" for i in range(self.machine.ports)]
        parameters = {
            n.clock: f"ASSOCIATED_BUSIF {':'.join([n.control, *memories])}, ASSOCIATED_RESET {n.reset}",
            n.reset: "POLARITY ACTIVE_LOW",
            n.interrupt: "SENSITIVITY LEVEL_HIGH",
        }
        for name, text in parameters.items():
            self.attributes[name]["X_INTERFACE_PARAMETER"] = text

    def _control_pins(self) -> None:
        """AXI4-Lite, seen from the subordinate."""
        prefix = self.names.control
        for name, bits, way in (
            ("awaddr", CONTROL_BITS, "i"), ("awprot", 3, "i"), ("awvalid", 1, "i"), ("awready", 1, "o"),
            ("wdata", 32, "i"), ("wstrb", 4, "i"), ("wvalid", 1, "i"), ("wready", 1, "o"),
            ("bresp", 2, "o"), ("bvalid", 1, "o"), ("bready", 1, "i"),
            ("araddr", CONTROL_BITS, "i"), ("arprot", 3, "i"), ("arvalid", 1, "i"), ("arready", 1, "o"),
            ("rdata", 32, "o"), ("rresp", 2, "o"), ("rvalid", 1, "o"), ("rready", 1, "i"),
        ):  # fmt: skip
            self._pin(
                f"{prefix}_{name}", bits, way, f"xilinx.com:interface:aximm:1.0 {prefix} {name.upper()}"
            )

        self.attributes[f"{prefix}_awaddr"]["X_INTERFACE_PARAMETER"] = (
            f"PROTOCOL AXI4LITE, DATA_WIDTH 32, ADDR_WIDTH {CONTROL_BITS}"
        )

    def _memory_pins(self, port: int) -> None:
        """AXI4, seen from the manager."""
        prefix, bits = f"{self.names.memory}{port}", 8 * self.port_bytes

        def address(way: str) -> list[tuple[str, int, str]]:
            fields = (
                ("addr", self.names.address_bits), ("len", 8), ("size", 3), ("burst", 2), ("lock", 1),
                ("cache", 4), ("prot", 3), ("qos", 4), ("valid", 1),
            )  # fmt: skip
            return [*((f"{way}{name}", width, "o") for name, width in fields), (f"{way}ready", 1, "i")]

        pins = [
            *address("ar"), ("rdata", bits, "i"), ("rresp", 2, "i"), ("rlast", 1, "i"), ("rvalid", 1, "i"),
            ("rready", 1, "o"),
        ]  # fmt: skip
        if port == 0:
            pins += [
                *address("aw"), ("wdata", bits, "o"), ("wstrb", self.port_bytes, "o"), ("wlast", 1, "o"),
                ("wvalid", 1, "o"), ("wready", 1, "i"), ("bresp", 2, "i"), ("bvalid", 1, "i"),
                ("bready", 1, "o"),
            ]  # fmt: skip
        for name, width, way in pins:
            self._pin(
                f"{prefix}_{name}", width, way, f"xilinx.com:interface:aximm:1.0 {prefix} {name.upper()}"
            )
        mode = "READ_WRITE" if port == 0 else "READ_ONLY"
        beats = self.machine.burst_beats * self.machine.ports
        self.attributes[f"{prefix}_araddr"]["X_INTERFACE_PARAMETER"] = (
            f"PROTOCOL AXI4, DATA_WIDTH {bits}, ADDR_WIDTH {self.names.address_bits}, ID_WIDTH 0, "
            f"READ_WRITE_MODE {mode}, SUPPORTS_NARROW_BURST 0, MAX_BURST_LENGTH {beats}, "
            f"NUM_READ_OUTSTANDING {self.machine.outstanding}"
        )

    def verilog(self) -> str:
        """The module as Verilog, in a shell whose ports carry the attributes; `overlay` is instantiated."""
        ways = {"i": PortDirection.Input, "o": PortDirection.Output}
        inner, ports = f"{self.names.top}_pins", {}
        for name, (signal, way) in self.pins.items():
            ports[name] = (signal, ways[way])
        text = verilog.convert(self, name=inner, ports=ports, emit_src=False)
        rows = []
        for name, (signal, way) in self.pins.items():
            notes = ", ".join(f'{key} = "{value}"' for key, value in self.attributes[name].items())
            width = f"[{len(signal) - 1}:0] " if len(signal) > 1 else ""
            rows.append(f"  (* {notes} *)\n  {'input' if way == 'i' else 'output'} wire {width}{name}")
        listed, wires = ",\n".join(rows), ",\n".join(f"    .{name}({name})" for name in self.pins)
        shell = f"module {self.names.top} (\n{listed}\n);\n  {inner} pins (\n{wires}\n  );\nendmodule\n"
        return f"{shell}\n{text}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        n, ports, size = self.names, self.machine.ports, self.port_bytes
        pin = {name: signal for name, (signal, _) in self.pins.items()}
        m.domains.sync = ClockDomain("sync")
        m.domains.pin = ClockDomain("pin", reset_less=True)
        # The reset of the machine is a register: it is wide, and the pin comes from afar.
        reset = Signal(2, init=0b11)
        m.d.pin += reset.eq(Cat(~pin[n.reset], reset[0]))
        m.d.comb += [
            ClockSignal("sync").eq(pin[n.clock]),
            ClockSignal("pin").eq(pin[n.clock]),
            ResetSignal("sync").eq(reset[1]),
        ]

        # The machine.
        ar = Signal(data.ArrayLayout(address_layout(), ports))
        r = Signal(data.ArrayLayout(read_layout(size), ports))
        aw, w, b = Signal(address_layout()), Signal(write_layout(size)), Signal(2)
        valid = {name: Signal(ports if name in ("ar", "r") else 1, name=f"{name}_valid")
                 for name in ("ar", "r", "aw", "w", "b")}  # fmt: skip
        ready = {name: Signal.like(signal, name=f"{name}_ready") for name, signal in valid.items()}
        csr = {"addr": Signal(CSR_ADDRESS_BITS), "write": Signal(), "wdata": Signal(32), "rdata": Signal(32)}
        m.submodules.machine = Instance(
            OVERLAY,
            i_clk=ClockSignal("sync"), i_rst=ResetSignal("sync"), o_irq=pin[n.interrupt],
            i_csr__addr=csr["addr"], i_csr__write=csr["write"], i_csr__wdata=csr["wdata"],
            o_csr__rdata=csr["rdata"],
            o_read__ar__payload=Value.cast(ar), o_read__ar__valid=valid["ar"], i_read__ar__ready=ready["ar"],
            i_read__r__payload=Value.cast(r), i_read__r__valid=valid["r"], o_read__r__ready=ready["r"],
            o_write__aw__payload=Value.cast(aw), o_write__aw__valid=valid["aw"],
            i_write__aw__ready=ready["aw"],
            o_write__w__payload=Value.cast(w), o_write__w__valid=valid["w"], i_write__w__ready=ready["w"],
            i_write__b__payload=b, i_write__b__valid=valid["b"], o_write__b__ready=ready["b"],
        )  # fmt: skip

        # Registers: the machine's, then where the banks are.
        m.submodules.front = front = AxiLiteRegisters(CONTROL_BITS, self.words)
        bus, inner = front.bus, front.registers
        for channel in ("aw", "w", "b", "ar", "r"):
            stream, prefix = getattr(bus, channel), f"{n.control}_{channel}"
            outward = channel in ("b", "r")
            fields = {"resp": stream.payload} if channel == "b" else {
                name: stream.payload[name] for name in stream.payload.shape().members
            }  # fmt: skip
            for name, field in fields.items():
                outer = pin[f"{prefix}{name}"]
                m.d.comb += outer.eq(field) if outward else field.eq(outer)
            if outward:
                m.d.comb += [pin[f"{prefix}valid"].eq(stream.valid), stream.ready.eq(pin[f"{prefix}ready"])]
            else:
                m.d.comb += [stream.valid.eq(pin[f"{prefix}valid"]), pin[f"{prefix}ready"].eq(stream.ready)]
        beyond = inner.addr[CSR_ADDRESS_BITS:].any()
        m.d.comb += [
            csr["addr"].eq(inner.addr),
            csr["wdata"].eq(inner.wdata),
            csr["write"].eq(inner.write & ~beyond),
            inner.rdata.eq(csr["rdata"]),
        ]
        banks = None
        if self.banks:
            m.submodules.banks = banks = Banks(self.banks, ports + 1, n.address_bits)
            was_beyond = Signal()
            m.d.sync += was_beyond.eq(beyond)
            m.d.comb += [
                banks.registers.addr.eq(inner.addr),
                banks.registers.wdata.eq(inner.wdata),
                banks.registers.write.eq(inner.write & beyond),
                inner.rdata.eq(Mux(was_beyond, banks.registers.rdata, csr["rdata"])),
            ]

        # Addresses, by way of the banks where there are some; channel `ports` is that of writes.
        for i in range(ports + 1):
            prefix = f"{n.memory}{i}_ar" if i < ports else f"{n.memory}0_aw"
            payload = ar[i] if i < ports else aw
            offered, taken = (valid["ar"][i], ready["ar"][i]) if i < ports else (valid["aw"], ready["aw"])
            address, length = pin[f"{prefix}addr"], pin[f"{prefix}len"]
            if banks is None:
                m.d.comb += [
                    address.eq(payload.addr), length.eq(payload.len), pin[f"{prefix}valid"].eq(offered),
                    taken.eq(pin[f"{prefix}ready"]),
                ]  # fmt: skip
            else:
                to, back = banks.bursts[i], banks.placed[i]
                m.d.comb += [
                    to.payload.eq(payload), to.valid.eq(offered), taken.eq(to.ready),
                    address.eq(back.payload.addr), length.eq(back.payload.len),
                    pin[f"{prefix}valid"].eq(back.valid), back.ready.eq(pin[f"{prefix}ready"]),
                ]  # fmt: skip
            m.d.comb += [
                pin[f"{prefix}size"].eq(Const((size - 1).bit_length(), 3)),
                pin[f"{prefix}burst"].eq(_INCR),
                pin[f"{prefix}cache"].eq(_CACHE),
                *(pin[f"{prefix}{name}"].eq(0) for name in ("lock", "prot", "qos")),
            ]

        # Data.
        for i in range(ports):
            prefix = f"{n.memory}{i}_r"
            m.d.comb += [
                r[i].data.eq(pin[f"{prefix}data"]), r[i].resp.eq(pin[f"{prefix}resp"]),
                r[i].last.eq(pin[f"{prefix}last"]), valid["r"][i].eq(pin[f"{prefix}valid"]),
                pin[f"{prefix}ready"].eq(ready["r"][i]),
            ]  # fmt: skip
        prefix = f"{n.memory}0_"
        m.d.comb += [
            pin[f"{prefix}wdata"].eq(w.data), pin[f"{prefix}wstrb"].eq(w.strb),
            pin[f"{prefix}wlast"].eq(w.last), pin[f"{prefix}wvalid"].eq(valid["w"]),
            ready["w"].eq(pin[f"{prefix}wready"]), b.eq(pin[f"{prefix}bresp"]),
            valid["b"].eq(pin[f"{prefix}bvalid"]), pin[f"{prefix}bready"].eq(ready["b"]),
        ]  # fmt: skip
        return m
