"""`trine run`: sampling, stop strings, chat, several texts, states; the same text on every backend."""

import dataclasses
import io
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiler.compile import compile_model
from hw.artefact import Artefact
from hw.machine import CI
from models.quantised import QuantisedModel
from models.sampling import Sampler
from models.tokenizer import Tokenizer
from sim.backends import Golden
from sim.requests import batch_step
from trine.cli import main
from trine.errors import UsageError
from trine.generate import Plan, Text, generate
from trine.state import load_state, save_state


def run(capsys, tmp_path: Path, *argv: object) -> tuple[int, str, dict]:
    """Exit code, standard output and JSON object of `trine run`."""
    target = tmp_path / "result.json"
    code = main(["run", *map(str, argv), "--json", str(target)])
    return code, capsys.readouterr().out, json.loads(target.read_text())


SAMPLED = ("--temperature", 1.3, "--top-k", 20, "--top-p", 0.9, "--seed", 7)


@pytest.mark.parametrize("backends", [("golden", "isa"), ("golden", "rtl")])
def test_one_seed_one_text(backends: tuple[str, str], artefact_path: Path, tmp_path: Path, capsys):
    texts = []
    for on in backends:
        for extra in (("--tile", 1, "--chunk", 2), ()):
            argv = (artefact_path, "--on", on, "--prompt", "a dog and", "--tokens", 8, *SAMPLED, *extra)
            code, out, result = run(capsys, tmp_path, *argv)
            assert code == 0 and out.startswith("a dog and")
            texts.append((result["tokens"], out))
    assert all(text == texts[0] for text in texts)
    _, _, other = run(
        capsys, tmp_path, artefact_path, "--prompt", "a dog and", "--tokens", 8, *SAMPLED[:-1], 8
    )
    _, _, greedy = run(capsys, tmp_path, artefact_path, "--prompt", "a dog and", "--tokens", 8)
    assert len({tuple(found["tokens"]) for found in (other, greedy)} | {tuple(texts[0][0])}) == 3


def test_steps_of_a_doorbell_change_nothing(artefact_path: Path, tmp_path: Path, capsys):
    found = []
    for steps in (0, 1, 3):
        _, out, result = run(
            capsys,
            tmp_path,
            artefact_path,
            "--on",
            "rtl",
            "--prompt",
            "a dog",
            "--tokens",
            7,
            "--steps",
            steps,
        )
        found.append((result["tokens"], out))
        assert result["counters"]["steps"] == 7
        assert len(result["cycles"]["each"]) == {0: 2, 1: 7, 3: 3}[steps], "the host is woken once a doorbell"
    assert found[0] == found[1] == found[2]


def test_doorbells_of_a_batch_fill_the_output_log_at_most(
    model: QuantisedModel, tokenizer: Tokenizer, tmp_path: Path, capsys
):
    """A log that wraps has lost the first tokens: such a request is refused, and `run` makes none."""
    path = tmp_path / "short.trine"
    machine = dataclasses.replace(CI, name="short", max_context=64)
    compile_model(model, tokenizer.to_bytes(), machine, False, kv_rows=192).write(path)
    prompts = [part for text in "abcd" for part in ("--prompt", text)]
    found = []
    for steps in (0, 20):
        code, _, result = run(capsys, tmp_path, path, *prompts, "--tokens", 21, "--steps", steps)
        assert code == 0
        found.append([text["tokens"] for text in result["texts"]])
    assert found[0] == found[1]
    golden = Golden(Artefact.read(path))
    for steps in (16, 17):
        request = batch_step([1] * 4, [0] * 4, [0, 48, 96, 144], steps=steps)
        if steps == 16:
            assert len(golden.run(request).tokens) == 16
        else:
            with pytest.raises(ValueError, match="output log: wanted 1 to 64, found 68"):
                golden.run(request)


def test_several_texts_in_one_tile(artefact_path: Path, tmp_path: Path, capsys):
    prompts = ("a dog", "once", "a little girl")
    argv = [part for text in prompts for part in ("--prompt", text)]
    for on in ("golden", "rtl"):
        _, out, together = run(capsys, tmp_path, artefact_path, "--on", on, *argv, "--tokens", 5)
        assert len(out.splitlines()) >= len(prompts)
        for text, found in zip(prompts, together["texts"], strict=True):
            _, _, alone = run(capsys, tmp_path, artefact_path, "--prompt", text, "--tokens", 5)
            assert found["tokens"] == alone["tokens"]


def test_a_stop_string_ends_the_text(artefact_path: Path, tmp_path: Path, capsys):
    _, _, free = run(capsys, tmp_path, artefact_path, "--prompt", "a dog", "--tokens", 12)
    text = free["text"]
    stop = next(text[i : i + 2] for i in range(4, len(text)) if "\ufffd" not in text[i : i + 2])
    _, out, cut = run(capsys, tmp_path, artefact_path, "--prompt", "a dog", "--tokens", 12, "--stop", stop)
    assert cut["text"] == text[: text.index(stop)]
    assert out == f"a dog{cut['text']}\n"
    assert cut["texts"][0]["ended"] == "stop"
    assert free["tokens"][: len(cut["tokens"])] == cut["tokens"]


def test_chat_makes_a_prompt(artefact_path: Path, tokenizer: Tokenizer, tmp_path: Path, capsys):
    _, out, plain = run(
        capsys, tmp_path, artefact_path, "--prompt", "a dog", "--chat", "plain", "--tokens", 3
    )
    assert plain["prompt_tokens"] == [1, *tokenizer.encode("a dog")]
    argv = ("--prompt", "a", "--chat", "zephyr", "--system", "b", "--tokens", 2)
    _, out, chat = run(capsys, tmp_path, artefact_path, *argv)
    assert "b" in out and "a" in out and len(chat["prompt_tokens"]) > 4
    template = tmp_path / "own.jinja"
    template.write_text("{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}")
    _, out, _ = run(capsys, tmp_path, artefact_path, "--prompt", "dog", "--chat", template, "--tokens", 2)
    assert out.startswith("[user]dog")


@pytest.mark.parametrize("sampled", [(), SAMPLED], ids=["greedy", "sampled"])
def test_a_state_goes_on_anywhere(sampled: tuple, artefact_path: Path, tmp_path: Path, capsys):
    """Six tokens, saved and resumed twice on other backends: the text of one run."""
    prompt = ("--prompt", "once upon", "--prompt", "a dog")
    _, out, whole = run(capsys, tmp_path, artefact_path, *prompt, "--tokens", 9, *sampled)
    one, two = tmp_path / "one.state", tmp_path / "two.state"
    argv = (*prompt, "--tokens", 4, *sampled)
    run(capsys, tmp_path, artefact_path, "--on", "isa", *argv, "--save-state", one)
    run(capsys, tmp_path, artefact_path, "--on", "rtl", "--resume", one, "--tokens", 3, "--save-state", two)
    code, last, resumed = run(capsys, tmp_path, artefact_path, "--resume", two, "--tokens", 2)
    assert code == 0
    assert [text["tokens"] for text in resumed["texts"]] == [text["tokens"] for text in whole["texts"]]
    assert last == out


def test_texts_that_ended_stay_ended(artefact_path: Path, tmp_path: Path, capsys):
    """Resumed with the same options: the text of one run, whichever text ended first; else each goes on."""
    state = tmp_path / "x.state"
    for first, second in (("a dog", "once"), ("once", "a dog")):
        prompt = ("--prompt", first, "--prompt", second)
        _, _, free = run(capsys, tmp_path, artefact_path, *prompt, "--tokens", 9)
        stop = ("--stop", next(t["text"][1] for t in free["texts"] if t["text"].startswith("m1")))
        _, out, whole = run(capsys, tmp_path, artefact_path, *prompt, "--tokens", 9, *stop)
        assert sorted(text["ended"] for text in whole["texts"]) == ["count", "stop"]
        run(capsys, tmp_path, artefact_path, *prompt, "--tokens", 6, *stop, "--save-state", state)
        for on in ("golden", "isa"):
            argv = (artefact_path, "--on", on, "--resume", state, "--tokens", 3)
            code, last, resumed = run(capsys, tmp_path, *argv, *stop)
            assert code == 0 and last == out and resumed["texts"] == whole["texts"]
            code, _, resumed = run(capsys, tmp_path, *argv)
            assert code == 0
            for text, alone, before in zip(resumed["texts"], free["texts"], whole["texts"], strict=True):
                count = len(before["tokens"]) + (3 if before["ended"] == "stop" else 0)
                assert text["tokens"] == alone["tokens"][:count]


def test_a_state_goes_on_with_more_kv_rows(
    artefact_path: Path, model: QuantisedModel, tokenizer: Tokenizer, tmp_path: Path, capsys
):
    """Texts of a crowded KV memory find room in a larger one: their rows do not meet."""
    large, state = tmp_path / "large.trine", tmp_path / "x.state"
    compile_model(model, tokenizer.to_bytes(), CI, False, kv_rows=96).write(large)
    prompt = ("--prompt", "a dog", "--prompt", "once")
    _, _, whole = run(capsys, tmp_path, large, *prompt, "--tokens", 30)
    run(capsys, tmp_path, artefact_path, *prompt, "--tokens", 6, "--save-state", state)
    for on in ("golden", "isa"):
        code, _, resumed = run(capsys, tmp_path, large, "--on", on, "--resume", state, "--tokens", 24)
        assert code == 0
        assert [text["tokens"] for text in resumed["texts"]] == [text["tokens"] for text in whole["texts"]]


ERRORS: dict[str, tuple[list[object], tuple[str, ...]]] = {
    "temperature": (["--temperature", -1], ("--temperature", "0 (greedy)")),
    "not a number": (["--temperature", "nan"], ("--temperature",)),
    "top-p": (["--top-p", 1.5], ("--top-p", "0 to 1")),
    "top-k": (["--top-k", 33], ("--top-k", "32", "33")),
    "seed": (["--seed", -1], ("--seed",)),
    "tile": (["--tile", 5], ("--tile", "1 to 4", "5")),
    "chunk": (["--chunk", 0], ("--chunk", "1 to 128")),
    "steps": (["--steps", -1], ("--steps",)),
    "empty stop": (["--stop", ""], ("--stop",)),
    "no template": (["--chat", "nosuch"], ("--chat", "chatml", "nosuch")),
    "system alone": (["--system", "x"], ("--chat",)),
    "wave without rtl": (["--wave", "x.fst"], ("--wave", "--on rtl")),
    "wave is a folder": (["--wave", ".", "--on", "rtl"], ("cannot write", "folder")),
    "wave below a file": (["--wave", f"{__file__}/x", "--on", "rtl"], ("cannot write", "folder")),
    "wave is a device": (["--wave", "/dev/null", "--on", "rtl"], ("--wave", "/dev/null")),
    "from without wave": (["--from", 5], ("--from", "--wave")),
    "to without wave": (["--to", 5], ("--to", "--wave")),
    "empty template": (["--chat", ""], ("--chat", "chatml")),
    "sampling beside a state": (["--resume", "x", "--seed", 5], ("--resume", "--seed")),
    "system beside a state": (
        ["--resume", "x", "--chat", "plain", "--system", "b"],
        ("--resume", "--system"),
    ),
    "too many texts": (["--prompt", "a"] * 5, ("--prompt", "4", "5")),
    "texts too long": (["--prompt", "a", "--prompt", "b", "--tokens", 40], ("--kv-rows", "24")),
    "no state": (["--resume", "nosuch"], ("cannot read state", "nosuch")),
    "no folder": (["--save-state", "nosuch/x"], ("nosuch",)),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str, artefact_path: Path, capsys):
    argv, wanted = ERRORS[name]
    assert main(["run", str(artefact_path), "--tokens", "4", *map(str, argv)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    for part in ("trine run: error:", *wanted):
        assert part in captured.err


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "{{ raise_exception('no\nno') }}", "{% for %}"],
    ids=["deep", "two lines", "no Jinja"],
)
def test_bad_templates(text: str, artefact_path: Path, tmp_path: Path, capsys):
    template = tmp_path / ("x.json" if text[0] == "[" else "x.jinja")
    template.write_text(text)
    assert main(["run", str(artefact_path), "--chat", str(template)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("trine run: error: --chat:") and error.count("\n") == 1


def test_a_wave_of_an_earlier_run_survives_bad_input(artefact_path: Path, tmp_path: Path):
    wave, pipe = tmp_path / "x.fst", tmp_path / "pipe"
    wave.write_text("precious")
    os.mkfifo(pipe)
    for path in (wave, pipe):
        argv = ["run", str(artefact_path), "--on", "rtl", "--wave", str(path), "--resume", "nosuch"]
        assert main(argv) == 2
    assert wave.read_text() == "precious" and pipe.is_fifo()


@pytest.fixture
def state(artefact_path: Path, tmp_path: Path, capsys) -> Path:
    """Two texts of two tokens."""
    path = tmp_path / "x.state"
    argv = ("--prompt", "a", "--prompt", "b", "--tokens", 2, "--save-state", path)
    run(capsys, tmp_path, artefact_path, *argv)
    return path


def test_a_damaged_state_is_refused(state: Path, artefact_path: Path, capsys):
    data = state.read_bytes()
    for damage in (b"", data[: len(data) // 2], b"not a state", bytes([data[0] ^ 1]) + data[1:]):
        state.write_bytes(damage)
        assert main(["run", str(artefact_path), "--resume", str(state), "--tokens", "2"]) == 2
        error = capsys.readouterr().err
        assert "--save-state" in error and error.count("\n") == 1


def test_a_state_with_a_wrong_bit_is_refused_or_the_same(state: Path, artefact_path: Path):
    """Bits of the archive that mean nothing, such as times, may change; others must be noticed."""
    artefact, data = Artefact.read(artefact_path), state.read_bytes()
    wanted, refused = _shown(load_state(state, artefact)), 0
    draw = random.Random(1)
    for _ in range(300):
        place = draw.randrange(8 * len(data))
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << place % 8
        state.write_bytes(damaged)
        try:
            assert _shown(load_state(state, artefact)) == wanted
        except UsageError:
            refused += 1
    assert refused > 150


def _shown(loaded: Any) -> str:
    texts, sampler, kv = loaded
    rows = [[[getattr(row, part).tobytes() for part in ("k", "v", "s_k", "s_v")] for row in layer]
            for text in kv for layer in text]  # fmt: skip
    return repr((texts, sampler, rows))


HEADERS: dict[str, Callable[[dict[str, Any]], object]] = {
    "no texts": lambda h: h.update(texts=[]),
    "texts no list": lambda h: h.update(texts={}),
    "no such text": lambda h: h["texts"].append(h["texts"][0]),
    "id no integer": lambda h: h["texts"][0].update(prompt=[1.0, 2]),
    "id true": lambda h: h["texts"][0].update(prompt=[True, 2]),
    "id too large": lambda h: h["texts"][0].update(prompt=[1, 300]),
    "ids text": lambda h: h["texts"][0].update(prompt="ab", tokens="cd"),
    "nothing generated": lambda h: h["texts"][0].update(tokens=[]),
    "processed no integer": lambda h: h["texts"][0].update(processed=1.0),
    "seed no integer": lambda h: h["sampler"].update(seed=1.5, temperature=1.0),
    "top_k no integer": lambda h: h["sampler"].update(top_k=2.5, temperature=1.0),
    "temperature no number": lambda h: h["sampler"].update(temperature="1"),
    "sampler no object": lambda h: h.update(sampler=[]),
}


#: What no run writes, and what the instruction set says no row on the tape has.
ROWS = (
    ("s_k_0", np.float32("nan")),
    ("s_v_1", np.float32(-1)),
    ("s_k_0", np.float32(-0.0)),
    ("s_v_0", np.float32(1e-40)),
    ("k_1", np.int8(-128)),
)


@pytest.mark.parametrize(("name", "value"), ROWS)
def test_a_state_with_impossible_rows_is_refused(
    name: str, value: np.generic, state: Path, artefact_path: Path, capsys
):
    with np.load(state) as found:
        arrays = dict(found)
    arrays[name].flat[1] = value
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    state.write_bytes(buffer.getvalue())
    assert main(["run", str(artefact_path), "--resume", str(state), "--tokens", "2"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and name in captured.err


@pytest.mark.parametrize("name", [*HEADERS, "deep"])
def test_a_state_with_a_wrong_header_is_refused(name: str, state: Path, artefact_path: Path, capsys):
    with np.load(state) as found:
        arrays = dict(found)
    header = json.loads(arrays["header"].tobytes())
    HEADERS.get(name, lambda h: None)(header)
    text = "[" * 100_000 if name == "deep" else json.dumps(header)
    arrays["header"] = np.frombuffer(text.encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    state.write_bytes(buffer.getvalue())
    assert main(["run", str(artefact_path), "--resume", str(state), "--tokens", "2"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith(f"trine run: error: state {state}")
    assert captured.err.count("\n") == 1


def test_an_interrupted_run_leaves_a_state_that_loads(artefact_path: Path, tmp_path: Path):
    """Wherever the interrupt comes, the machine being ahead of the texts or not."""
    artefact = Artefact.read(artefact_path)
    sampler, whole = Sampler(temperature=0), [Text([1, 68], 0), Text([1, 294], 24)]
    generate(Golden(artefact), whole, Plan(9, 8, 4, sampler))
    for moment in range(3, 12):
        texts, seen = [Text([1, 68], 0), Text([1, 294], 24)], []

        def interrupt(number: int, token: int, seen: list[int] = seen, moment: int = moment) -> None:
            seen.append(token)
            if len(seen) == moment:
                raise KeyboardInterrupt

        def stops(number: int, token: int) -> bool:
            return number == 0 and token == whole[0].tokens[1]

        backend = Golden(artefact)
        with pytest.raises(KeyboardInterrupt):
            generate(backend, texts, Plan(9, 8, 4, sampler, watch=stops), on_token=interrupt)
        save_state(tmp_path / "x.state", artefact, backend, texts, sampler)
        loaded, _, _ = load_state(tmp_path / "x.state", artefact)
        for text, full in zip(loaded, whole, strict=True):
            assert text.tokens == full.tokens[: len(text.tokens)] and text.processed == len(text.ids) - 1
