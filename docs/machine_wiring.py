"""What `docs.draw_machine` draws: the units of the overlay and what connects them, found in the design."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from amaranth.hdl import Module, Shape, Value
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory

from hw import overlay
from hw.machine import MachineConfig
from hw.skid_buffer import SkidBuffer

__all__ = ["Link", "Machine", "elaborated", "memory_bits"]

#: Ports of the overlay itself, and who is behind them.
OUTSIDE = {"read": "memory", "write": "memory", "csr": "host", "irq": "host"}


@dataclass(frozen=True)
class Link:
    """Two ports that are connected, in the direction of the data.

    source, target: unit and member. name: of the signature; of the member where it is a stream. bits: of the
    data in a cycle, at most. both: as much goes the other way.
    """

    source: tuple[str, str]
    target: tuple[str, str]
    name: str
    bits: int
    both: bool = False


class Machine:
    """An elaborated overlay.

    Members
    -------
    units: submodules by name. links: connected signatures, each once. wires: (source, target) units of single
    signals, with the names of the signals at the source.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        top = overlay.Overlay(config)
        connected: list[tuple[Any, Any]] = []

        def connect(m: Module, a: Any, b: Any) -> None:
            connected.append((a, b))
            wiring.connect(m, a, b)

        with patch.object(overlay, "connect", connect):
            module = top.elaborate(None)
        self.units = dict(elaborated(module))
        ports, signals = {}, {}
        for unit, component in (("", top), *self.units.items()):
            for name, member in component.signature.members.items():
                owner = OUTSIDE[name] if component is top else unit
                if member.is_signature:
                    for port in _flat(getattr(component, name)):
                        ports[id(_plain(port))] = owner, name
                        for _, _, value in port.signature.flatten(port):
                            signals[id(Value.cast(value))] = owner, name, port
                else:
                    for value in _flat(getattr(component, name)):
                        signals[id(Value.cast(value))] = owner, name, None
        links = [_link(a, b, ports) for a, b in connected]
        pairs = {frozenset((link.source, link.target)) for link in links}
        wires: dict[tuple[str, str], set[str]] = {}
        for target, source in _assignments(module):
            if target not in signals or source not in signals:
                continue
            (a, a_name, a_port), (b, b_name, b_port) = signals[source], signals[target]
            if a == b or frozenset(((a, a_name), (b, b_name))) in pairs:
                continue
            if a_port is not None and b_port is not None:  # a signature connected by hand
                links.append(_link(a_port, b_port, ports))
                pairs.add(frozenset(((a, a_name), (b, b_name))))
            else:
                wires.setdefault((a, b), set()).add(a_name)
        for name in [name for name, unit in self.units.items() if isinstance(unit, SkidBuffer)]:
            del self.units[name]
            links = _joined(links, name)
        self.links = list(dict.fromkeys(links))
        self.wires = {pair: sorted(names) for pair, names in sorted(wires.items())}


def _joined(links: list[Link], buffer: str) -> list[Link]:
    """A buffer is part of the connection that it lies in."""
    (into,) = (link for link in links if link.target == (buffer, "i"))
    (out,) = (link for link in links if link.source == (buffer, "o"))
    rest = [link for link in links if link not in (into, out)]
    return [*rest, dataclasses.replace(into, target=out.target)]


def elaborated(module: Any) -> Iterator[tuple[str, Any]]:
    """Named submodules."""
    for name, (submodule, _) in module._named_submodules.items():
        yield name, submodule


def memory_bits(component: Any) -> int:
    """Bits of all memories in a component and below."""
    if isinstance(component, Memory):
        return Shape.cast(component.shape).width * component.depth
    module = component.elaborate(None)
    return sum(memory_bits(part) for _, part in elaborated(module)) if isinstance(module, Module) else 0


def _link(a: Any, b: Any, ports: dict[int, tuple[str, str]]) -> Link:
    """The data: what members called "data" carry, else the widest member."""
    leaves = [(path, member) for path, member, _ in a.signature.flatten(a)]
    sizes: list[tuple[int, Any]] = []
    for named in (True, False):
        for path, member in leaves:
            layout = member.shape
            if named and hasattr(layout, "members") and "data" in layout.members:
                sizes.append((Shape.cast(layout.members["data"]).width, member.flow))
            elif not named or path[-1] == "data":
                sizes.append((Shape.cast(layout).width, member.flow))
        if sizes:
            break
    bits = max(size for size, _ in sizes)
    flows = {flow for size, flow in sizes if size == bits}
    signature = _plain_signature(a.signature)
    ends = ports[id(_plain(a))], ports[id(_plain(b))]
    source, target = ends if wiring.Out in flows else ends[::-1]
    streamed = isinstance(signature, stream.Signature)
    name = f"stream {ends[0][1]}" if streamed else type(signature).__name__
    return Link(source, target, name, bits, len(flows) > 1)


def _plain(port: Any) -> Any:
    return wiring.flipped(port) if isinstance(port, wiring.FlippedInterface) else port


def _plain_signature(signature: Any) -> Any:
    return signature.flip() if isinstance(signature, wiring.FlippedSignature) else signature


def _flat(values: Any) -> Iterator[Any]:
    if isinstance(values, list | tuple):
        for value in values:
            yield from _flat(value)
    else:
        yield values


def _assignments(module: Any) -> Iterator[tuple[int, int]]:
    """(target, source) of each assignment, by identity; what it is conditional on is a source too."""

    def walk(statements: Any, conditions: list[Any]) -> Iterator[tuple[int, int]]:
        for statement in statements:
            if hasattr(statement, "cases"):  # a Switch
                tested = [*conditions, *statement.test._rhs_signals()]
                for _, body, _ in statement.cases:
                    yield from walk(body, tested)
            else:
                for target in statement._lhs_signals():
                    for source in (*statement._rhs_signals(), *conditions):
                        yield id(target), id(source)

    for statements in module._statements.values():
        yield from walk(statements, [])
