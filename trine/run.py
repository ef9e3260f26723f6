"""Run an artefact: the prompt goes in, the text streams out, from golden model, interpreter or RTL."""

import argparse
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from hw.files import in_place
from models import chat
from models.config import ModelConfig
from models.sampling import Sampler
from models.tokenizer import Tokenizer
from sim.rtl_backend import Rtl
from sim.waves import WaveWindow

from .errors import EXIT_OK, UsageError
from .generate import Plan, Text, generate
from .output import note, require_folder, write_json
from .screen import Screen
from .session import Job, add_artefact_arguments, encode, figures, note_saturations
from .state import load_state, save_state

BACKENDS = ("golden", "isa", "rtl")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """ARTEFACT, prompt, backend, sampling, chat, state."""
    add_artefact_arguments(parser, tokens=64)
    parser.add_argument("--on", choices=BACKENDS, default="golden", help="backend (default %(default)s)")
    sampling = parser.add_argument_group(
        "sampling",
        "Defined on integers (docs/numerics.md): one seed, one text, on every backend and named machine.",
    )
    sampling.add_argument(
        "--temperature",
        type=float,
        default=0.0,
        metavar="T",
        help="0: the most likely token each time (default); else sample",
    )
    sampling.add_argument(
        "--top-k",
        type=int,
        default=0,
        metavar="K",
        help="sample from the K likeliest (default: all that the machine ranks)",
    )
    sampling.add_argument(
        "--top-p",
        type=float,
        default=1.0,
        metavar="P",
        help="of these, from the likeliest that together have this share (default 1)",
    )
    sampling.add_argument("--seed", type=int, default=0, metavar="N", help="of the draws (default 0)")
    text = parser.add_argument_group("text")
    text.add_argument(
        "--stop",
        action="append",
        default=[],
        metavar="TEXT",
        help="end before this text (repeatable); the model's end token always ends",
    )
    text.add_argument(
        "--chat",
        metavar="TEMPLATE",
        help="take --prompt as a user's message, in the format of a chat template: "
        f"{', '.join(chat.templates())}, or a file with a Jinja template",
    )
    text.add_argument("--system", metavar="TEXT", help="with --chat: a system message before it")
    text.add_argument(
        "--steps",
        type=int,
        default=0,
        metavar="N",
        help="tokens that the machine decodes on its own before the host looks (default: 16, "
        "8 with --stop or --save-state); always 1 when sampling",
    )
    state = parser.add_argument_group("waves and states")
    state.add_argument("--wave", type=Path, metavar="FILE", help="write an FST waveform (with --on rtl)")
    state.add_argument(
        "--from",
        type=int,
        default=None,
        dest="wave_from",
        metavar="CYCLE",
        help="first cycle of the wave, counted from the first doorbell (default 0)",
    )
    state.add_argument(
        "--to",
        type=int,
        default=None,
        dest="wave_to",
        metavar="CYCLE",
        help="first cycle that is not in it (default: 2000 after --from)",
    )
    state.add_argument(
        "--save-state",
        type=Path,
        metavar="FILE",
        help="write the state after the last token, also when interrupted",
    )
    state.add_argument(
        "--resume",
        type=Path,
        metavar="FILE",
        help="go on from a saved state: its texts, its sampling; --tokens more for each text, but none for "
        "one that ends with an end token or --stop",
    )


def main(args: argparse.Namespace) -> int:
    """Stream the text to standard output, progress and a summary to standard error."""
    result = run(args)
    summary(result)
    note_saturations(result["counters"])
    write_json(args.json, result)
    return EXIT_OK


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run one backend and return the JSON object of the verb."""
    sampler, message = _sampler(args), _message(args)
    for path in (args.save_state, args.wave):
        if path is not None:
            require_folder(path)
    wave = _wave(args)
    job = Job.from_arguments(args, message)
    texts = [Text(ids, base) for ids, base in zip(job.prompts, job.bases, strict=True)]
    kv = []
    if args.resume is not None:
        if args.prompt or args.system is not None:
            raise UsageError(
                "--resume: wanted no --prompt or --system beside it (the state has its texts), found one"
            )
        if sampler != Sampler(temperature=0):
            raise UsageError(
                "--resume: wanted no --temperature, --top-k, --top-p or --seed beside it (the state has its "
                "sampling), found one"
            )
        texts, sampler, kv = load_state(args.resume, job.artefact)
        job = job.resumed(texts)
        for text, base in zip(texts, job.bases, strict=True):
            text.base = base
    stops = {job.config.eos} if job.config.eos is not None else set()
    strings = list(args.stop)
    if args.chat is not None:
        template = _template(args.chat)
        stops |= set(chat.stops(template, job.tokenizer))
        strings += chat.stop_strings(template, job.tokenizer)
    screen = _screen(job.tokenizer, strings, len(texts), stops)
    most = job.machine.top_k
    if sampler.top_k > most:
        raise UsageError(
            f"--top-k: wanted at most {most}, what machine {job.machine.name!r} ranks, found "
            f"{sampler.top_k}; a machine with a larger top_k would take it"
        )
    plan = Plan(
        job.count,
        job.chunk,
        job.tile,
        sampler,
        sorted(stops),
        screen.watch if strings or args.save_state else None,
        args.steps,
        job.machine.max_context,
        job.most,
    )
    backend = job.open(args.on, **({} if wave is None else {"wave": wave}))
    try:
        if wave is not None:
            wave.path.unlink(missing_ok=True)  # one of an earlier run would look like this one's
        for text, rows in zip(texts, kv, strict=False):
            backend.restore(text.base, rows)
        for number, text in enumerate(texts):
            screen.begin(number, text.ids, len(text.tokens))
            if text.tokens and (text.tokens[-1] in stops or screen.watch(number, text.tokens[-1])):
                text.done = "stop"  # a resumed one that had ended
        begin = time.perf_counter()
        try:
            with tqdm(
                total=sum(map(len, job.prompts)),
                desc=f"prompt on {args.on}",
                unit="token",
                leave=False,
                disable=None,
            ) as progress:
                timing = generate(
                    backend, texts, plan, lambda done: (progress.update(done), None)[1], screen.show
                )
        finally:
            screen.end()
            if args.save_state is not None and all(text.tokens for text in texts):
                save_state(args.save_state, job.artefact, backend, texts, sampler)
        wall = time.perf_counter() - begin
        tokens = [text.tokens for text in texts]
        return {
            "backend": args.on, "machine": job.machine.name,
            "prompt_tokens": texts[0].prompt, "tokens": tokens[0], "text": screen.text(0),
            "texts": [{"prompt_tokens": text.prompt, "tokens": text.tokens, "text": screen.text(i),
                       "ended": text.done} for i, text in enumerate(texts)],
            **figures(job, backend, timing), "counters": backend.counters(), "wall_seconds": wall,
            "simulated_cycles_per_second":
                sum(timing.prefill + timing.decode) / backend.seconds
                if isinstance(backend, Rtl) and backend.seconds else None,
        }  # fmt: skip
    finally:
        backend.close()
        if args.wave is not None and not args.wave.exists():
            note(
                f"no {args.wave}: the run ended before cycle {args.wave_from or 0}; choose an earlier --from"
            )


def _screen(tokenizer: Tokenizer, stop: list[str], texts: int, hidden: set[int]) -> Screen:
    try:
        return Screen(tokenizer, stop, texts, hidden)
    except ValueError as error:
        raise UsageError(f"--stop: {error}") from error


def _sampler(args: argparse.Namespace) -> Sampler:
    if args.steps < 0:
        raise UsageError(f"--steps: wanted 0 (as many as possible) or more, found {args.steps}")
    try:
        return Sampler(args.temperature, args.top_k, args.top_p, args.seed)
    except ValueError as error:
        name, rest = str(error).split(":", 1)
        raise UsageError(f"--{name.replace('_', '-')}:{rest}") from error


def _template(name: str) -> str:
    """A template's name, or the text of the one in a file."""
    if name in chat.templates():
        return name
    try:
        return chat.load(Path(name))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--chat: wanted {', '.join(chat.templates())}, or a template's file, found {name!r}: {error}"
        ) from error


def _message(args: argparse.Namespace) -> Any:
    """What makes ids of a prompt: None for plain text."""
    if args.chat is None:
        if args.system is not None:
            raise UsageError("--system: wanted --chat with it, found none; name a template")
        return None
    template = _template(args.chat)

    def ids(tokenizer: Tokenizer, config: ModelConfig, text: str) -> list[int]:
        encode(tokenizer, text + (args.system or ""))  # says what is wrong with the text
        messages = [{"role": "user", "content": text}]
        if args.system is not None:
            messages.insert(0, {"role": "system", "content": args.system})
        try:
            return chat.render(messages, template, tokenizer)
        except ValueError as error:
            raise UsageError(f"--chat: {' '.join(str(error).split())}") from error

    return ids


def _wave(args: argparse.Namespace) -> WaveWindow | None:
    """What --wave, --from and --to ask for."""
    if args.wave is None:
        if args.wave_from is not None or args.wave_to is not None:
            raise UsageError("--from, --to: wanted --wave with them, found none; name a file")
        return None
    if args.on != "rtl":
        raise UsageError(f"--wave: wanted --on rtl, found --on {args.on}; only the RTL has waves")
    if in_place(args.wave):
        raise UsageError(
            f"--wave: wanted a plain file, found another thing at {args.wave}; give another path"
        )
    start = args.wave_from or 0
    stop = start + 2000 if args.wave_to is None else args.wave_to
    if not 0 <= start < stop < 2**63:
        raise UsageError(f"--from, --to: wanted 0 <= from < to < 2**63, found {start} and {stop}")
    return WaveWindow(args.wave.resolve(), start, stop)


def summary(result: dict[str, Any]) -> None:
    """One line of figures on standard error."""
    count = sum(len(text["tokens"]) for text in result["texts"])
    text = f"{result['backend']}: {count} tokens in {result['wall_seconds']:.1f} s"
    cycles, bus = result["cycles"], result["bus"]
    if cycles["prefill"] is not None:
        prompt = sum(len(text["prompt_tokens"]) for text in result["texts"])
        text += f"; prompt of {prompt} tokens in {cycles['prefill']} cycles"
    if cycles["per_token"] is not None:
        text += (
            f"; {cycles['per_token']:.0f} cycles per token, bus utilisation {bus['utilisation']:.3f} "
            f"of a ceiling of {bus['ceiling']:.3f}, "
            f"{result['simulated_cycles_per_second']:.0f} cycles/s simulated"
        )
    note(text)
