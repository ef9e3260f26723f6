"""The forms that are measured, by family."""

import dataclasses

from .array import Form

__all__ = ["FORMS", "PLACED", "WHOLE"]

_BYTE = Form("", "", 5, 1.6, "byte", "entry", memory="block")


def _byte(name: str, title: str, **changes: object) -> Form:
    return dataclasses.replace(_BYTE, name=name, title=title, **changes)  # pyright: ignore[reportArgumentType]


#: Forms of both families. "hw" is what `hw.byte_tables` has.
_COMMON = (
    Form("tree-naive", "add/sub/zero tree", 1, 2.0, "tree", "signed", banks=1),
    Form("tree", "add/sub tree, zero by reset, sign deferred", 1, 2.0, "tree", "deferred", banks=1),
    Form("half-naive", "half table of 14, negated at once", 3, 5 / 3, "half", "signed", banks=1),
    Form("half", "half table of 14, sign deferred", 3, 5 / 3, "half", "deferred", banks=1),
    Form("half-banks", "half table of 14, sign deferred, two banks", 3, 5 / 3, "half", "deferred"),
    Form("full-signed", "full table of 27, tree of signed sums", 3, 5 / 3, "full", "signed", banks=1),
    Form("full-banks", "full table of 27, signed tree, two banks", 3, 5 / 3, "full", "signed"),
    Form("full", "full table of 27, family's adders", 3, 5 / 3, "full", "entry", banks=1),
    Form("split", "byte split into 3 + 2, signed tree, two banks", 5, 1.6, "split", "signed"),
    _byte("byte-signed", "byte table of 243, tree of signed sums", sum="signed"),
    _byte("byte", "byte table of 243, family's adders"),
    _byte("byte-k8192", "the same, partial sums for K to 8,192", largest_k=8192),
    _byte("byte-3", "3 tokens side by side in 36 bits", tokens=3),
    _byte("byte-2rows-shared", "2 rows share tables by dual port, one bank", rows=2, banks=1),
    _byte("byte-2rows-copied", "2 rows, tables copied", rows=2),
    _byte("six", "table of 729 (10 bits for 6 trits), one bank", group=6, bits=10 / 6, banks=1),
)

_XCUP = (
    _byte("byte-6", "6 tokens side by side in 72 bits", tokens=6),
    _byte("byte-uram", "6 tokens side by side in URAM", tokens=6, memory="ultra"),
    _byte("byte-binary", "byte table, chains of two-operand adders", adders="ecp5"),
    _byte("byte-dsp", "byte table, 2 tokens, DSPs as adders", tokens=2, sum="dsp"),
)


def _primitives(form: Form) -> Form:
    return dataclasses.replace(form, primitives=form.sum in ("entry", "dsp"))


FORMS: dict[str, tuple[Form, ...]] = {
    "ecp5": _COMMON,
    "xcup": tuple(_primitives(form) for form in (*_COMMON, *_XCUP)),
}

#: Forms that are also placed and routed, on ECP5.
PLACED = ("half", "full", "byte-signed", "byte", "six")
#: Whole engines: (tokens, builders of each, activations).
WHOLE: dict[str, tuple[tuple[int, int, int], ...]] = {
    "ecp5": ((1, 1, 60), (4, 1, 60), (8, 1, 60), (8, 1, 120)),
    "xcup": ((1, 1, 60), (8, 1, 60)),
}
