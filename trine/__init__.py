"""Trine for library users: load, compile, run, compare. The command line is `trine.cli`.

    import trine
    model = trine.load_checkpoint("models/shipped/model.safetensors")
    tokenizer = trine.Tokenizer.from_json("models/shipped/tokenizer.json")
    artefact = trine.compile_model(model, tokenizer.to_bytes(), trine.MACHINES["ci"])
    with trine.Rtl(artefact) as rtl:
        backends = [trine.Golden(artefact), trine.Isa(artefact), rtl]
        result = trine.run_lockstep(backends, [1], 8, model.config.layers)
    assert result.difference is None

Names are loaded when they are first used, so that `import trine` itself is quick.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

#: Public names and the modules that define them.
PUBLIC = {
    "Artefact": "hw.artefact",
    "MACHINES": "hw.machine",
    "MachineConfig": "hw.machine",
    "QuantisedModel": "models.quantised",
    "Tokenizer": "models.tokenizer",
    "GoldenModel": "models.golden",
    "load_checkpoint": "compiler.frontends",
    "Recipe": "models.integer_quantise",
    "calibrate_grids": "compiler.quantise",
    "compile_model": "compiler.compile",
    "assemble": "compiler.assembler",
    "disassemble": "compiler.assembler",
    "DramParams": "sim.dram",
    "Golden": "sim.backends",
    "Isa": "sim.backends",
    "Rtl": "sim.rtl_backend",
    "Board": "sim.board_backend",
    "Request": "sim.backend",
    "Entry": "sim.entries",
    "Sampler": "models.sampling",
    "run_lockstep": "sim.lockstep",
}

try:
    VERSION = version("trine")
except PackageNotFoundError:  # a checkout that is not installed
    VERSION = "0+checkout"


def __getattr__(name: str) -> Any:
    """A public name, loaded now."""
    if name not in PUBLIC:
        raise AttributeError(f"module 'trine' has no attribute {name!r}; it has {', '.join(PUBLIC)}")
    return getattr(import_module(PUBLIC[name]), name)


def __dir__() -> list[str]:
    return [*PUBLIC, "VERSION"]
