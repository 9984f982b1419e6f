"""The specifications of the tasks: light, complete, and of names that exist."""

import subprocess
import sys
from dataclasses import replace

import pytest

from tasks._registry import DEV, TASKS, TESTS, Column, TablePart, import_object, register


def test_tasks_stand_in_the_papers_order():
    assert list(TASKS) == ["snli", "gigaword", "translation"]
    assert all(spec.name == name for name, spec in TASKS.items())


@pytest.mark.parametrize("spec", TASKS.values(), ids=TASKS)
def test_every_name_of_a_specification_exists(spec):
    for name in (spec.build, *spec.corpora.values(), *filter(None, spec.item_scores.values())):
        assert callable(import_object(name))


@pytest.mark.parametrize("spec", TASKS.values(), ids=TASKS)
def test_every_tier_but_mini_says_where_its_data_is(spec):
    assert set(spec.sources) == {"small", "paper"} and set(spec.corpora) == {"mini", "hub", "folder"}


def test_specifications_import_nothing_heavy():
    program = (
        "import sys, tasks; print([n for n in ('torch', 'numpy', 'regattn', 'hydra') if n in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_task_comes_and_goes(monkeypatch):
    monkeypatch.setattr("tasks._registry.TASKS", dict(TASKS))
    from tasks import _registry

    toy = register(replace(TASKS["snli"], name="toy"))
    assert _registry.TASKS["toy"] is toy
    with pytest.raises(ValueError, match="name of its own, got 'toy' again"):
        register(toy)


PART = TablePart(
    "Scores on {split}",
    groups=((Column("dev x", "x", split=DEV), Column("{split} x", "x", split=TESTS), "epochs"),),
    repeated=((Column("{split} y", "y", split=TESTS), Column("{split} z", "z", split=TESTS)),),
)


def test_columns_are_filled_in_for_every_test_set():
    first, *repeated = PART.columns(["a", "b"], {})
    assert [one if isinstance(one, str) else (one.label, one.split) for one in first] == [
        ("dev x", "dev"), ("a x", "a"), ("b x", "b"), "epochs",
    ]  # fmt: skip
    assert [[one.label for one in group] for group in repeated] == [["a y", "a z"], ["b y", "b z"]]


def test_splits_that_were_measured_otherwise_have_no_columns():
    signatures = {"dev": {"rouge": "f1|stem"}, "a": {"rouge": "recall|stem"}, "b": {}}
    first, *repeated = replace(PART, signature=("rouge", "recall")).columns(["a", "b"], signatures)
    assert [getattr(one, "label", one) for one in first] == ["a x", "epochs"]
    assert [[one.label for one in group] for group in repeated] == [["a y", "a z"]]
