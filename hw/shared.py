"""Components of which a machine has many copies: elaborated once, instantiated often.

Amaranth elaborates and writes out each copy of a component by itself. A `SharedComponent` knows the
parameters it was made with, so that copies can be told to be equal; a parent adds one by `shared`. Nothing
changes where there is no emitter (simulation in Python, proofs): the component is a plain submodule. Under
the emitter of `sim.emit` the parent gets an instance of a module that all equal components have in common.
"""

import hashlib
import inspect
from collections.abc import Iterator
from typing import Any, ClassVar, Self

from amaranth.hdl import ClockSignal, Instance, ResetSignal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

__all__ = ["PREFIX", "SharedComponent", "SharedModules", "ports", "primitives", "shared"]

#: Names of shared modules begin so. Yosys writes modules in the order of names; the top is to be the first.
PREFIX = "shared_"


class SharedComponent(wiring.Component):
    """A component whose constructor's arguments, defaults included, say all about it.

    Its clock domain is ``sync``, and what it elaborates to depends on nothing that is set later.

    Attributes
    ----------
    parameters : tuple of (str, object)
        Name and value of each argument: numbers, strings, frozen dataclasses, tuples or lists of them.
    """

    #: Whether a simulator shall keep the code of the module apart: where it is long, copies of it cost more
    #: than is gained where each is put in its place.
    APART: ClassVar[bool] = False
    parameters: tuple[tuple[str, object], ...]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        setattr(self, "_MustUse__used", True)  # noqa: B010  Amaranth warns of what is not elaborated: most copies
        if cls.__init__ is wiring.Component.__init__:
            self.parameters = ()
        else:
            bound = inspect.signature(cls.__init__).bind(self, *args, **kwargs)
            bound.apply_defaults()
            self.parameters = tuple(bound.arguments.items())[1:]
        return self

    @property
    def module_name(self) -> str:
        """The class and, where it has parameters, eight digits of their hash; behind ``overlay`` in order.

        Raises TypeError where a parameter's text is an address in memory, which says nothing about it.
        """
        name = f"{PREFIX}{type(self).__name__}"
        if not self.parameters:
            return name
        text = repr(self.parameters)
        if " at 0x" in text:
            raise TypeError(f"{name}: a shared component's parameters must be plain values, found {text}")
        return f"{name}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"


class SharedModules:
    """The platform under which `shared` makes instances; `components` has one component of each module.

    Parameters
    ----------
    primitives : bool
        For synthesis: instances of the family's cells where synthesis would not infer them (`primitives`).

    Attributes
    ----------
    components : dict[str, SharedComponent]
        By module name; grows while components are elaborated.
    """

    def __init__(self, primitives: bool = False) -> None:
        self.primitives = primitives
        self.components: dict[str, SharedComponent] = {}

    def instance(self, component: SharedComponent) -> Instance:
        """An instance that has the component's signals on its ports."""
        name = component.module_name
        self.components.setdefault(name, component)
        connections: dict[str, Any] = {"i_clk": ClockSignal(), "i_rst": ResetSignal()}
        for port, value, is_input in ports(component):
            connections[f"{'i' if is_input else 'o'}_{port}"] = value
        return Instance(name, **connections)


def ports(component: wiring.Component) -> Iterator[tuple[str, Value, bool]]:
    """Name, signal, whether an input, of each port of a component that has bits."""
    for path, member, value in component.signature.flatten(component):
        signal = Value.cast(value)
        if len(signal):
            yield "__".join(map(str, path)), signal, member.flow == In


def primitives(platform: object) -> bool:
    """Whether a component is to instantiate cells of its family: not in simulations, which have no models of
    them; the tests prove both forms equal."""
    return isinstance(platform, SharedModules) and platform.primitives


def shared(component: SharedComponent, platform: object) -> Any:
    """What a parent adds as its submodule: the component, or its instance where modules are shared."""
    return platform.instance(component) if isinstance(platform, SharedModules) else component
