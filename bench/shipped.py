"""The shipped model as an artefact in build/, compiled when it is missing or not of this checkout."""

from pathlib import Path

from compiler.compile import compile_model
from compiler.frontends import load_checkpoint
from hw.artefact import Artefact
from hw.machine import MACHINES
from models.tokenizer import Tokenizer
from trine.compile import calibrate

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "models" / "shipped"
PROMPT = "Once upon a time"


def shipped_artefact(machine: str = "ci") -> Path:
    """Compile the shipped model for a machine; the path of the artefact."""
    path = ROOT / "build" / f"shipped-{machine}.trine"
    path.parent.mkdir(exist_ok=True)
    model = load_checkpoint(SHIPPED / "model.safetensors")
    tokenizer = Tokenizer.from_json(SHIPPED / "tokenizer.json")
    model = calibrate(model, tokenizer, None)
    artefact: Artefact = compile_model(model, tokenizer.to_bytes(), MACHINES[machine])
    artefact.write(path)
    return path
