"""The shipped model as an artefact in build/, compiled when it is missing or not of this checkout."""

from pathlib import Path

from compiler.compile import compile_model
from compiler.frontends import load_checkpoint
from hw.artefact import Artefact
from hw.machine import MACHINES, MachineConfig
from models.tokenizer import Tokenizer
from trine.compile import calibrate

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "models" / "shipped"
PROMPT = "Once upon a time"


def shipped_artefact(machine: str | MachineConfig = "ci") -> Path:
    """Compile the shipped model for a machine, named or not; the path of the artefact."""
    config = MACHINES[machine] if isinstance(machine, str) else machine
    path = ROOT / "build" / f"shipped-{config.name}.trine"
    path.parent.mkdir(exist_ok=True)
    model = load_checkpoint(SHIPPED / "model.safetensors")
    tokenizer = Tokenizer.from_json(SHIPPED / "tokenizer.json")
    model = calibrate(model, tokenizer, None)
    artefact: Artefact = compile_model(model, tokenizer.to_bytes(), config)
    artefact.write(path)
    return path
