"""Chat templates: messages to token ids.

A template is Jinja2 text as checkpoints publish it (`chat_template` of tokenizer_config.json, or the file
chat_template.jinja), rendered as Hugging Face documents: sandboxed, `trim_blocks`, `lstrip_blocks`, with
`messages`, `bos_token`, `eos_token`, `add_generation_prompt`, `raise_exception`, `strftime_now`, `tojson`
without HTML escapes, `break`, `continue` and `{% generation %}`.

Names of special tokens that the template writes become their ids; the same names inside a message are
ordinary text. To tell them apart, each name in a literal of the template is replaced, before rendering, by a
mark: a private-use character that neither the template nor the messages contain. Marks that the rendered text
holds are therefore the template's. A role is written as a mark too, for templates that build names from it,
such as '<|' + message['role'] + '|>'; where it compares, it is itself.

Special tokens are those the tokenizer declares special; other added tokens are words of its vocabulary.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from .chat_templates import TEMPLATES
from .tokenizer import Tokenizer

ROLES: tuple[str, ...] = ("system", "developer", "user", "assistant", "tool", "function", "ipython")

#: Content of the assistant in the trial conversation of `stops`.
_PROBE = "\U0010fffd"


def templates() -> dict[str, str]:
    """The built-in templates: name to Jinja2 text."""
    return dict(TEMPLATES)


def load(path: Path | str) -> str:
    """The template in a checkpoint's tokenizer_config.json or chat_template.json; the text of another file.

    ValueError where the JSON holds none; OSError where the file cannot be read.
    """
    text = Path(path).read_text(encoding="utf-8")
    if Path(path).suffix != ".json":
        return text
    try:
        found = json.loads(text)["chat_template"]
        if isinstance(found, list):  # several, by name
            found = {one["name"]: one["template"] for one in found}["default"]
        if not isinstance(found, str):
            raise TypeError(f"a {type(found).__name__}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{path}: wanted a JSON object with a `chat_template`, found {type(error).__name__}: {error}; "
            f"take a built-in template: {', '.join(TEMPLATES)}"
        ) from error
    return found


def render(
    messages: list[dict[str, Any]], template: str, tokenizer: Tokenizer, add_generation_prompt: bool = True
) -> list[int]:
    """Token ids of a conversation; BOS comes first, whether or not the template writes it.

    messages: each with "role" (one of `ROLES`) and "content", a string; other keys are the template's.
    template: a name of `templates()` or Jinja2 text. add_generation_prompt: end with the beginning of an
    answer, where the format has one. ValueError where messages or template are wrong or do not fit.
    """
    ids: list[int] = []
    for piece in _pieces(messages, template, tokenizer, add_generation_prompt):
        ids += tokenizer.encode(piece) if isinstance(piece, str) else [piece]
    return ids if ids[:1] == [tokenizer.bos] else [tokenizer.bos, *ids]


def stops(template: str, tokenizer: Tokenizer) -> list[int]:
    """Ids that end a turn: what the template writes after an answer, where that is a special token; EOS."""
    after = _after_answer(template, tokenizer)
    ends = [end for end in (after, tokenizer.eos) if isinstance(end, int)]
    return list(dict.fromkeys(ends))


def stop_strings(template: str, tokenizer: Tokenizer) -> list[str]:
    """Text that ends a turn where the tokenizer has no token for it, such as '<|im_end|>'; often none."""
    after = _after_answer(template, tokenizer)
    return [after] if isinstance(after, str) else []


def _after_answer(template: str, tokenizer: Tokenizer) -> int | str | None:
    """The special token or word that follows an answer in a trial conversation, if any."""
    trial = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _PROBE}]
    try:
        pieces = list(_pieces(trial, template, tokenizer, False))
    except _RefusedError:
        return None
    for at, piece in enumerate(pieces):
        if isinstance(piece, str) and _PROBE in piece:
            word = piece.rpartition(_PROBE)[2].split()
            return word[0] if word else next(iter(pieces[at + 1 :]), None)
    return None


class _RefusedError(ValueError):
    """The template does not accept the messages."""


def _pieces(
    messages: list[dict[str, Any]], template: str, tokenizer: Tokenizer, prompt: bool
) -> Iterator[int | str]:
    """The rendered conversation as ids of special tokens and ordinary text between them."""
    source = TEMPLATES.get(template, template)
    if template not in TEMPLATES and "{{" not in template and "{%" not in template:
        raise ValueError(
            f"chat template: wanted {', '.join(TEMPLATES)} or Jinja2 text, found {template[:80]!r}; "
            f"give a name or the text of a template"
        )
    marks = _Marks.free_of([source, *_texts(_checked(messages))], tokenizer.special_tokens)
    said = [{**message, "role": _Role(message["role"], marks.roles)} for message in messages]
    text = _rendered(source, marks, said, tokenizer, prompt)
    return marks.split(text, tokenizer.special_tokens)


# --- marks ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Marks:
    """Characters that stand for names of special tokens and for roles."""

    names: dict[str, str]
    roles: dict[str, str]

    @classmethod
    def free_of(cls, texts: list[str], names: dict[str, int]) -> "_Marks":
        """Marks that occur in none of `texts`."""
        used, count = set("".join(texts)), len(ROLES) + len(names)
        unused = (mark for mark in map(chr, range(0x100000, 0x10FFFD)) if mark not in used)
        free = list(islice(unused, count))
        if len(free) < count:
            raise ValueError(f"messages: wanted {count} characters of plane 16 unused, found {len(free)}")
        roles = dict(zip(ROLES, free, strict=False))
        return cls(dict(zip(names, free[len(ROLES) :], strict=False)), roles)

    def put(self, literal: str) -> str:
        """A literal of a template with marks for names, longest names first."""
        names = sorted(filter(None, self.names), key=len, reverse=True)
        if not names:
            return literal
        return re.sub("|".join(map(re.escape, names)), lambda match: self.names[match[0]], literal)

    def split(self, text: str, ids: dict[str, int]) -> Iterator[int | str]:
        """Ids for marked names and for names around a marked role; what lies between as text."""
        token = {mark: ids[name] for name, mark in self.names.items()}
        for role, mark in self.roles.items():
            token |= {name.replace(role, mark): ids[name] for name in self.names if role in name}
        role_of = str.maketrans({mark: role for role, mark in self.roles.items()})
        longest = sorted(filter(None, token), key=len, reverse=True)
        pattern = "|".join(map(re.escape, longest)) or r"(?!)"
        at = 0
        for match in re.finditer(pattern, text):
            if at < match.start():
                yield text[at : match.start()].translate(role_of)
            yield token[match[0]]
            at = match.end()
        if at < len(text):
            yield text[at:].translate(role_of)


class _Role(str):
    """A role: compares as itself, is written as its mark."""

    _mark: str

    def __new__(cls, role: str, marks: dict[str, str]) -> "_Role":
        self = super().__new__(cls, role)
        self._mark = marks[role]
        return self

    def __str__(self) -> str:
        return self._mark

    def __add__(self, other: str) -> str:
        return self._mark + other

    def __radd__(self, other: str) -> str:
        return other + self._mark


# --- messages and template --------------------------------------------------------------------------------


def _checked(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages, or ValueError."""
    if not messages:
        raise ValueError("messages: wanted one at least, found none")
    for number, message in enumerate(messages):
        if not isinstance(message, dict):
            raise ValueError(f"message {number}: wanted a dictionary, found {type(message).__name__}")
        role, content = message.get("role"), message.get("content")
        if role not in ROLES:
            raise ValueError(f"message {number}: wanted a role of {', '.join(ROLES)}, found {role!r}")
        if not isinstance(content, str):
            raise ValueError(f"message {number}: wanted a string as content, found {type(content).__name__}")
        if any(re.search("[\ud800-\udfff]", text) for text in _texts(message)):
            raise ValueError(f"message {number}: wanted Unicode text, found a lone surrogate")
    return messages


def _texts(value: Any) -> Iterator[str]:
    """Every string inside lists and dictionaries."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(key)
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


class _Generation(Extension):
    """`{% generation %}`: marks answers for training; here its body and no more."""

    tags = {"generation"}

    def parse(self, parser: Any) -> list[nodes.Node]:
        """The nodes of the body."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _tojson(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _rendered(
    source: str, marks: _Marks, messages: list[dict[str, Any]], tokenizer: Tokenizer, prompt: bool
) -> str:
    """The template's text, with marks. The errors a template can raise are any: it is a program."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    name_of = {number: name for name, number in tokenizer.special_tokens.items()}
    try:
        tree = environment.parse(source)
        for literal in tree.find_all((nodes.Const, nodes.TemplateData)):
            if isinstance(literal, nodes.TemplateData):
                literal.data = marks.put(literal.data)
            elif isinstance(literal, nodes.Const) and isinstance(literal.value, str):
                literal.value = marks.put(literal.value)
        code = environment.compile(tree)
        program = environment.template_class.from_code(environment, code, environment.globals)
    except Exception as error:
        raise ValueError(
            f"chat template: wanted Jinja2 text, found {type(error).__name__}: {error}"
        ) from error
    try:
        return program.render(
            messages=messages,
            bos_token=marks.put(name_of.get(tokenizer.bos, "")),
            eos_token=marks.put(name_of.get(tokenizer.eos, "") if tokenizer.eos is not None else ""),
            add_generation_prompt=prompt,
        )
    except Exception as error:
        raise _RefusedError(
            f"chat template: wanted a conversation it accepts, found {type(error).__name__}: {error}"
        ) from error
