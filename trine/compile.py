"""Make a .trine file of a checkpoint, or of a shape with weights drawn from a seed.

It holds program, tape, memory map, quantised model (or the seed), tokenizer and test vectors.
"""

import argparse
import re
import time
from pathlib import Path

from compiler.compile import compile_model
from compiler.fit import place
from compiler.frontends import load_checkpoint
from compiler.quantise import calibrate_grids, own_text
from compiler.vectors import GENERATED
from hw.machine import MACHINES
from models.integer_quantise import Recipe
from models.quantised import MATRICES, QuantisedModel
from models.seeded import SeededModel
from models.shapes import SHAPES, numbered_tokenizer
from models.tokenizer import Tokenizer

from .artefact import tokenizer_complaint
from .errors import EXIT_OK, UsageError
from .output import note, table, write_artefact, write_json

#: Bits of the widths that the command line offers.
WIDTHS = {"int8": 8, "int4": 4}
#: Tokens that the golden model writes to calibrate the grids of square sums on, where no text is given.
CALIBRATION_TOKENS = 24
#: Tokens drawn for the same purpose where the weights are drawn too, and tokens that their test vectors have.
SHAPE_CALIBRATION_TOKENS, SHAPE_GENERATED = 16, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """CHECKPOINT or --shape, --tokenizer, --machine, -o."""
    parser.add_argument(
        "checkpoint",
        type=Path,
        nargs="?",
        metavar="CHECKPOINT",
        help="ak42 .bin, llama2.c float .bin, Trine .safetensors, or a folder with one",
    )
    parser.add_argument(
        "--tokenizer",
        type=Path,
        metavar="FILE",
        help="tokenizer.json or llama2.c tok*.bin (default: tokenizer.json beside the checkpoint; for a "
        "shape, one whose tokens read as their numbers)",
    )
    parser.add_argument(
        "--machine", choices=sorted(MACHINES), default="ci", help="machine (default %(default)s)"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="default: the model's name with .trine"
    )
    parser.add_argument(
        "--calibrate",
        type=Path,
        metavar="TEXT",
        help="text whose first tokens set the grids of square sums (default: the model's own)",
    )
    parser.add_argument(
        "--kv-rows",
        type=int,
        metavar="N",
        help="tokens that the KV memory holds for all sequences together (default: one context)",
    )
    parser.add_argument("--no-vectors", action="store_true", help="leave out the test vectors")
    shape = parser.add_argument_group(
        "shape", "In place of a checkpoint: the sizes of a published model, with weights drawn from a seed."
    )
    shape.add_argument("--shape", choices=sorted(SHAPES), help="which")
    shape.add_argument(
        "--layers",
        type=int,
        metavar="N",
        help="its first N layers, which are drawn as in the whole (default: all)",
    )
    shape.add_argument("--seed", type=int, metavar="N", help="of the weights (default 0)")
    group = parser.add_argument_group(
        "quantisation", "How float numbers of the checkpoint become integers (docs/numerics.md)."
    )
    group.add_argument(
        "--weights",
        choices=list(WIDTHS),
        help="matrices of a float checkpoint (default int8); a ternary one keeps its codes and refuses this",
    )
    group.add_argument(
        "--head",
        choices=list(WIDTHS),
        default="int8",
        help="the head, of any checkpoint (default %(default)s)",
    )
    group.add_argument(
        "--group",
        type=int,
        metavar="N",
        help=f"int4 weights that share scale and minimum (default {Recipe.group}); 0: one scale a row",
    )
    group.add_argument(
        "--activations",
        type=int,
        choices=(8, 12),
        default=8,
        help="bits of the inputs of integer matrices; 12: mantissas on one exponent (default %(default)s)",
    )


def main(args: argparse.Namespace) -> int:
    """Compile and write; a table of what went where."""
    begin = time.perf_counter()
    seeded = drawn(args)
    path = args.checkpoint or Path()
    path = path / "model.safetensors" if path.is_dir() else path
    model = seeded or load_checkpoint(path, recipe(args))
    if args.kv_rows is not None and args.kv_rows < model.config.context:
        raise UsageError(
            f"--kv-rows: wanted {model.config.context} (one context) or more, found {args.kv_rows}"
        )
    if seeded and args.tokenizer is None:
        tokenizer = numbered_tokenizer(seeded.config)
    else:
        tokenizer = load_tokenizer(args.tokenizer or path.with_name("tokenizer.json"), model)
    place(model.config, MACHINES[args.machine])  # before anything of the context's size is made
    if seeded and args.calibrate is None:
        model = calibrate_shape(seeded)
    else:
        model = calibrate(model, tokenizer, args.calibrate)
    artefact = compile_model(
        model, tokenizer.to_bytes(), MACHINES[args.machine], not args.no_vectors, kv_rows=args.kv_rows,
        generated=SHAPE_GENERATED if seeded else GENERATED,
    )  # fmt: skip
    output = args.output or Path(file_name(model.config.name))
    size = write_artefact(output, artefact)
    seconds = time.perf_counter() - begin
    regions = {name: region["size"] for name, region in artefact.memory_map["regions"].items()}
    print(table([(name, size) for name, size in regions.items()], ("memory region", "bytes")))
    note(
        f"{output}: {model.config.name} ({kinds(model)}) for machine {args.machine}, "
        f"{len(artefact.program) // 24} instructions, {size} bytes, {seconds:.1f} s"
    )
    write_json(args.json, {
        "artefact": str(output), "model": model.config.to_json(), "machine": args.machine,
        "shape": {"name": seeded.shape.name, "layers": seeded.config.layers, "seed": seeded.seed}
                 if seeded else None,
        "instructions": len(artefact.program) // 24, "regions": regions, "grids": model.grids,
        "integer": {name: model.form(name) for name in (*MATRICES, "head") if model.form(name)},
        "activations": model.activations,
        "file_bytes": size, "wall_seconds": seconds,
    })  # fmt: skip
    return EXIT_OK


def drawn(args: argparse.Namespace) -> SeededModel | None:
    """The model that --shape asks for, if it does; UsageError where the options do not belong together."""
    if args.shape is None:
        if args.checkpoint is None:
            raise UsageError("wanted a CHECKPOINT or --shape, found neither; name one")
        for name in ("layers", "seed"):
            if getattr(args, name) is not None:
                raise UsageError(f"--{name}: wanted --shape with it, found a checkpoint; leave it out")
        return None
    if args.checkpoint is not None:
        raise UsageError(
            f"--shape: wanted no CHECKPOINT beside it, found {args.checkpoint}; name one of them"
        )
    plain = {"weights": None, "head": "int8", "group": None, "activations": 8}
    for name, default in plain.items():
        if getattr(args, name) != default:
            raise UsageError(f"--{name}: wanted a checkpoint, found --shape, which has widths of its own")
    return SeededModel(SHAPES[args.shape], args.seed or 0, args.layers)


def calibrate_shape(model: SeededModel) -> QuantisedModel:
    """The model with grids for BOS and tokens drawn from its own seed, in one pass through the layers."""
    count = min(SHAPE_CALIBRATION_TOKENS, model.config.context)
    return calibrate_grids(model, [model.config.bos, *model.some_tokens(count - 1)])


def recipe(args: argparse.Namespace) -> Recipe:
    """What the command line says about quantisation; UsageError for a group that nothing is cut into."""
    group = Recipe.group if args.group is None else args.group
    if group < 0:
        raise UsageError(f"--group: wanted 0 or more weights, found {group}; 32 is usual")
    if args.group is not None and "int4" not in (args.weights, args.head):
        raise UsageError(
            f"--group {group}: wanted int4 weights to put in groups, found none (int8 has one scale a row); "
            f"give --weights int4 or --head int4, or leave --group out"
        )
    return Recipe(WIDTHS[args.weights] if args.weights else None, WIDTHS[args.head], group, args.activations)


def kinds(model: QuantisedModel) -> str:
    """The widths of a model's weights and of the inputs of its integer ones, in a few words."""
    layers = sorted({getattr(matrix, "kind", "ternary") for _, matrix in model.layers[0].matrices()})
    return f"{', '.join(layers)}; head {model.head.kind}, its input {model.activations['final']} bits"


def load_tokenizer(path: Path, model: QuantisedModel) -> Tokenizer:
    """The tokenizer in `path`, recognised by content; UsageError where it does not belong to `model`."""
    config = model.config
    try:
        with path.open("rb") as file:
            json_like = file.read(64).lstrip().startswith(b"{")
        tokenizer = Tokenizer.from_json(path) if json_like else Tokenizer.from_llama2c(path, config.vocab)
    except OSError as error:
        raise UsageError(
            f"cannot read tokenizer {path}: {error.strerror}; name one with --tokenizer"
        ) from error
    except ValueError as error:
        raise UsageError(str(error)) from error
    if complaint := tokenizer_complaint(tokenizer, config):
        raise UsageError(f"{path}: {complaint}; give the model's own tokenizer with --tokenizer")
    return tokenizer


def file_name(name: str) -> str:
    """A plain file name in the current directory for a model of that name."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip(".-")[:100]
    return f"{plain or 'model'}.trine"


def calibrate(model: QuantisedModel, tokenizer: Tokenizer, text: Path | None) -> QuantisedModel:
    """The model with grids for BOS and the first tokens of `text`, or for what the model itself writes."""
    config = model.config
    try:
        if text is None:
            tokens = own_text(model, [config.bos], min(CALIBRATION_TOKENS, config.context - 1))
        else:
            tokens = [config.bos, *tokenizer.encode(calibration_text(text))[: config.context - 1]]
        return calibrate_grids(model, tokens)
    except UsageError:
        raise
    except ValueError as error:
        raise UsageError(f"model {config.name!r}: calibration: {error}; is the checkpoint sound?") from error


def calibration_text(path: Path) -> str:
    """The first 64 KiB of a text; UsageError where there is none."""
    try:
        with path.open("rb") as file:
            content = file.read(65536).decode("utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"cannot read calibration text {path}: {error.strerror}; check the path") from error
    if not content.strip():
        raise UsageError(f"calibration text {path}: wanted some text, found none; leave out --calibrate")
    return content
