"""`trine run`: sampling, stop strings, chat, several texts, states; the same text on every backend."""

import json
from pathlib import Path

import pytest

from models.tokenizer import Tokenizer
from trine.cli import main


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


def test_a_damaged_state_is_refused(artefact_path: Path, tmp_path: Path, capsys):
    state = tmp_path / "x.state"
    run(capsys, tmp_path, artefact_path, "--prompt", "a", "--tokens", 2, "--save-state", state)
    data = state.read_bytes()
    for damage in (b"", data[: len(data) // 2], b"not a state", bytes([data[0] ^ 1]) + data[1:]):
        state.write_bytes(damage)
        assert main(["run", str(artefact_path), "--resume", str(state), "--tokens", "2"]) == 2
        assert "--save-state" in capsys.readouterr().err
