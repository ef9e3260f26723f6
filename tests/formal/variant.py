"""What a specification needs of a design beside its ports: its registers, and broken variants of it."""

import inspect
import sys
import types
from typing import Any

from amaranth.hdl import Elaboratable, Module


def opened(component: Elaboratable, platform: object) -> tuple[Module, types.SimpleNamespace]:
    """The elaborated component, and the local names of its methods (`elaborate`'s before the others'), for
    invariants over its registers."""
    found: dict[str, Any] = {}
    codes = {part.__code__ for part in vars(type(component)).values() if inspect.isfunction(part)}

    def watch(frame: types.FrameType, event: str, _: object) -> None:
        if event == "return" and frame.f_code in codes:
            found.update(frame.f_locals)

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        module = component.elaborate(platform)
    finally:
        sys.setprofile(before)
        vars(component)["_MustUse__used"] = True  # or Amaranth warns that nobody elaborated it
    return module, types.SimpleNamespace(**found)


def broken(module: types.ModuleType, old: str, new: str) -> types.ModuleType:
    """A copy of a module in which the only occurrence of `old` reads `new`."""
    source = vars(module).get("__source__") or inspect.getsource(module)
    count = source.count(old)
    assert count == 1, f"{module.__name__}: wanted one {old!r}, found {count}"
    copy = types.ModuleType(module.__name__)
    copy.__package__ = module.__package__
    copy.__file__ = module.__file__
    vars(copy)["__source__"] = source.replace(old, new)
    exec(compile(vars(copy)["__source__"], str(module.__file__), "exec"), vars(copy))
    return copy
