"""The specifications of the tasks: light, complete, and of names that exist."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tasks._registry import TASKS, import_object, register


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


@pytest.mark.parametrize("spec", TASKS.values(), ids=TASKS)
def test_a_setting_of_one_epoch_says_so(spec):
    runs = Path(__file__).parents[2] / "results" / "runs"
    config = json.loads(next(runs.glob(f"{spec.name}-*.json")).read_bytes())["config"]
    config["trainer"]["epochs"] = 1
    assert ", 1 epoch" in spec.setting(config) and "1 epochs" not in spec.setting(config)


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
