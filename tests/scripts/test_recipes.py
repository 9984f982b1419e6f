"""A record says which recipe its run is, and a run that changes one is none."""

import shutil
from pathlib import Path

import pytest

from scripts.runs import config
from scripts.runs.config import plain, read_config, recipe_of
from scripts.train import start
from tasks.training.records import Record, read_records
from tests.scripts.paper.committed import stored_records

FIRST = {
    (record.experiment, record.config["data"].get("pair")): record
    for record in stored_records()
    # but for runs with vectors of 50 entries, until those with 100 take their place
    if (record.tier, record.config["task"].get("vector_size")) != ("small", 50)
}


@pytest.mark.parametrize("record", FIRST.values(), ids=[f"{name} {pair}" for name, pair in FIRST])
def test_committed_runs_are_the_recipes_of_today(record: Record) -> None:
    assert recipe_of(record.config, record.mapping) == record.experiment


def composed(*overrides: str) -> dict[str, object]:
    given = ("data.root=folder",) if "experiment=small/snli" in overrides else ()
    return plain(read_config([*overrides, *given]))


SAME = ["seed=3", "trainer.threads=2", "trainer.checkpoint_every=7", "output_dir=a", "results_dir=b"]
SAME += ["data.root=elsewhere", "trainer.device=auto", "logger=tensorboard", "progress=false"]
OTHER = ["trainer.epochs=7", "attention.lam=0.2", "trainer.precision=bfloat16", "data.limit=9", "tier=mini"]
OTHER += ["task.vectors=null", "tier='../small'", "task_name=gigaword"]


@pytest.mark.parametrize("override", [*SAME, *OTHER])
def test_only_seed_pace_and_places_leave_a_recipe(override: str) -> None:
    config = composed("experiment=small/snli", "attention=fusedmax", override)
    assert recipe_of(config, "fusedmax") == ("small/snli" if override in SAME else "")


@pytest.mark.parametrize("mapping", ["softmax", "fusedmax"])
def test_a_tuned_recipe_is_one_of_its_own(mapping: str) -> None:
    tuned = read_config(["experiment=small/translation_tuned", f"attention={mapping}", "data.root=folder"])
    assert recipe_of(plain(tuned), mapping) == "small/translation_tuned"
    plainly = read_config(["experiment=small/translation", f"attention={mapping}", "data.root=folder"])
    assert recipe_of(plain(plainly), mapping) == "small/translation"


def test_a_recipe_is_known_by_what_it_is() -> None:
    config = composed("task=snli", "data=snli/mini", "attention=fusedmax")
    assert recipe_of(config, "fusedmax") == "mini/snli"
    assert recipe_of(config, "softmax") == recipe_of(config, "toy") == ""


def test_a_record_names_its_recipe_unless_epochs_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = shutil.copytree(config.CONFIGS, tmp_path / "configs")
    with (configs / "experiment" / "mini" / "snli.yaml").open("a") as file:
        file.write("data: {train: 30, dev: 3, test: 3}\ntrainer: {epochs: 1}\n")
    monkeypatch.setattr(config, "CONFIGS", configs)
    monkeypatch.chdir(tmp_path)
    config._setting_of_recipe.cache_clear()
    try:
        for overrides in ([], ["trainer.epochs=2"]):
            start(["experiment=mini/snli", "attention=sparsemax", "seed=2", "progress=false", *overrides])
    finally:
        config._setting_of_recipe.cache_clear()
    named = {record.epochs: record.experiment for record in read_records(Path("results/runs"))}
    assert named == {1: "mini/snli", 2: ""}
