"""The choice of the ternary engine, and that every form that is measured computes the sums."""

import dataclasses

import pytest

from bench.engines.array import Form
from bench.engines.engine import engine_config, verify_engine
from bench.engines.forms import FORMS
from bench.engines.verify import verify
from hw.engines import CHEAPEST, table_form
from hw.machine import MachineConfig
from hw.table_set import LARGEST_OF_FIVE


def test_form_by_rows():
    assert [table_form("ecp5", rows) for rows in (1, 247, 248, 4096)] == ["split", "split", "byte", "byte"]
    forms = {field.name: field for field in dataclasses.fields(MachineConfig)}
    assert "table_form" in forms and set(CHEAPEST) == set(FORMS)


@pytest.mark.parametrize(
    ("family", "form"),
    [(family, form) for family, forms in FORMS.items() for form in forms if form.tokens < 6],
    ids=lambda value: value.name if isinstance(value, Form) else value,
)
def test_forms(family: str, form: Form):
    verify(form, family, rows=12, seed=7)


@pytest.mark.parametrize("builders", [1, 2])
def test_whole_engine(builders: int):
    verify_engine(engine_config("xcup", 2, "byte", 30), builders, k=70)


def test_wrong_entries_are_seen(monkeypatch: pytest.MonkeyPatch):
    form = next(form for form in FORMS["ecp5"] if form.name == "byte")
    right = Form.built
    monkeypatch.setattr(Form, "built", lambda self, a, b: [v ^ (v == b + a[0]) for v in right(self, a, b)])
    with pytest.raises(AssertionError, match="ecp5 byte: row"):
        verify(form, "ecp5", rows=300)
    assert LARGEST_OF_FIVE == 635
