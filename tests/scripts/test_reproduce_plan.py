"""The cells of the paper's tables, and what a plan says of them from records alone."""

import dataclasses
import shlex
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from regattn import MAPPINGS
from scripts.cli import UsageError
from scripts.reproduce import (
    OVERHEAD,
    PAPER,
    Run,
    list_runs,
    longest_first,
    make_plan,
    parse_names,
    parse_seeds,
    render,
    reproduce,
)
from scripts.runs.config import leaves, plain, read_config, recipe_of, schema_in, targets, trainer_schema
from tasks._registry import TASKS
from tasks.training.provenance import SEEDS, config_hash
from tasks.training.records import Record, write_record
from tests.scripts.conftest import Made
from tests.scripts.paper.committed import stored_records

GIVEN = ["task.vectors=glove.txt", "data.root=folder"]


@pytest.fixture(scope="module")
def jobs() -> dict[str, list[Run]]:
    """One run of every cell, by tier; all values given."""
    given = {"mini": [], "small": ["data.root=folder"], "paper": GIVEN}
    return {tier: list_runs([*TASKS], tier, [1], arguments) for tier, arguments in given.items()}


@pytest.mark.parametrize("tier", ["mini", "small", "paper"])
def test_every_cell_composes_and_is_what_its_name_says(jobs: dict[str, list[Run]], tier: str) -> None:
    assert len(jobs[tier]) == len(TASKS) * sum(spec.in_paper for spec in MAPPINGS.values())
    for job in jobs[tier]:
        config, (_, task), mapping = job.config, job.experiment.split("/"), job.mapping
        assert (config["tier"], config["task_name"], job.lacks) == (tier, task, ())
        assert config["attention"]["_target_"].rpartition(".")[2].lower() == mapping
        assert (config["data"]["_target_"].endswith("mini.generate")) == (tier == "mini")
        assert recipe_of(config, mapping) == job.experiment
    assert len({job.hash for job in jobs[tier]}) == len(jobs[tier])


def test_other_mappings_are_planned_where_they_are_asked_for() -> None:
    (run,) = list_runs(["snli"], "mini", [1], [], ["entmax15"])
    assert run.config["attention"]["_target_"] == "regattn.Entmax15"
    with pytest.raises(UsageError, match=r"MAPPINGS must be paper or of softmax, .*, got 'nomax'"):
        parse_names("MAPPINGS", "paper,nomax", MAPPINGS, "paper", PAPER)


def test_the_paper_tier_translates_from_french(jobs: dict[str, list[Run]]) -> None:
    pairs = {job.config["data"]["pair"] for job in jobs["paper"] if job.task == "translation"}
    assert pairs == {"fr-en"}


def test_the_paper_tier_says_what_must_be_given() -> None:
    lacking = {job.task: job.lacks for job in list_runs([*TASKS], "paper", [1], [])}
    assert lacking == {"snli": ("task.vectors",), "gigaword": (), "translation": ("data.root",)}


def test_the_committed_records_of_todays_recipes_are_found_again(jobs: dict[str, list[Run]]) -> None:
    hashes = {(job.experiment, job.mapping): job.hash for job in jobs["small"]}
    found = [
        config_hash(record.config) == hashes[record.experiment, record.mapping]
        for record in stored_records()
        if record.seed == 1 and (record.experiment, record.mapping) in hashes
        if recipe_of(record.config, record.mapping) == record.experiment
    ]
    assert found and all(found)


def completed(config: dict[str, Any]) -> dict[str, Any]:
    """A config with every key that it could have today, those it lacks at their defaults."""
    sections = {"trainer": trainer_schema()}
    for group, known in targets().items():
        target = config[group].get("_target_", "tasks.training.optim.Adam")
        sections[group] = schema_in(group, known[target])
    merged = {
        group: OmegaConf.merge(OmegaConf.structured(schema), config[group])
        for group, schema in sections.items()
    }
    return config | {group: OmegaConf.to_container(section) for group, section in merged.items()}


def test_a_later_key_at_its_default_keeps_the_hash() -> None:
    """A key that is younger than a record belongs into ``NOT_HASHED_AT``, with its default."""
    settings = {config_hash(record.config, without=SEEDS): record.config for record in stored_records()}
    late = {
        key
        for config in settings.values()
        if config_hash(completed(config)) != config_hash(config)
        for key in dict(leaves(completed(config))).keys() - dict(leaves(config)).keys()
    }
    assert not late, "not in NOT_HASHED_AT"


def made(job: Run, seconds: float, directory: Path, **changes: object) -> Record:
    """A finished run of the job, written where its config says."""
    model = next(record for record in stored_records() if record.task == job.task)
    config = {**job.config, "results_dir": "elsewhere"}  # where a run was made is not what it is
    values = {"id": job.job.name, "mapping": job.mapping, "seed": job.seed, "config": config, "epochs": 4}
    values |= {"seconds": {**model.seconds, "total": seconds}, "tier": job.config["tier"], **changes}
    record = dataclasses.replace(model, **values)
    write_record(directory / "runs", record)
    return record


def test_a_plan_knows_what_is_done_and_how_long_the_rest_takes(tmp_path: Path) -> None:
    arguments = [f"results_dir={tmp_path}", "trainer.epochs=8"]
    jobs = list_runs(["snli"], "mini", [1, 2], arguments)
    unknown = make_plan(jobs)
    assert all(planned.is_ready and planned.seconds is None for planned in unknown)
    assert "10 of them of unknown length" in render(unknown, 2)
    made(jobs[0], 80, tmp_path, epochs=8)
    made(jobs[2], 160, tmp_path, epochs=8)
    made(jobs[1], 1000, tmp_path, epochs=4, tier="small", config={**jobs[1].config, "tier": "small"})
    plan = make_plan(jobs)
    assert [planned.run.job.name for planned in plan if not planned.is_ready] == [
        jobs[0].job.name,
        jobs[2].job.name,
    ]
    seconds = {planned.run.job.name: planned.seconds for planned in plan}
    assert seconds[jobs[1].job.name] == 80 + OVERHEAD  # the same but for the seed
    assert seconds[jobs[9].job.name] == 120 + OVERHEAD  # another mapping: the median of both
    text = render(plan, 2)
    assert "2 of 10 runs done, 8 to run, 2 at once; about" in text
    row = next(line for line in text.split("\n") if line.startswith("mini/snli softmax"))
    assert row.split() == ["mini/snli", "softmax", "1", "2", "1:35"]


def test_unknown_runs_begin_first_then_the_longest(tmp_path: Path) -> None:
    jobs = list_runs(["snli", "translation"], "mini", [1, 2], [f"results_dir={tmp_path}"])
    made(jobs[0], 10, tmp_path)
    made(jobs[2], 99, tmp_path)
    order = [planned.run.task for planned in longest_first(make_plan(jobs))]
    assert order == ["translation"] * 10 + ["snli"] * 8
    known = [planned for planned in longest_first(make_plan(jobs)) if planned.seconds]
    assert known[0].run.job.name == jobs[3].job.name


def test_an_argument_goes_to_the_tables_that_have_its_key(jobs: dict[str, list[Run]]) -> None:
    assert {job.task: job.arguments for job in jobs["paper"]} == {
        "snli": ("task.vectors=glove.txt",),
        "gigaword": (),
        "translation": ("data.root=folder",),
    }


@pytest.mark.parametrize("wrong", ["task.vector=x", "trainer.epoch=3", "sed=3", "nonsense=1"])
def test_an_argument_that_no_table_has_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match="is no key"):
        list_runs(["snli"], "mini", [1], [wrong])


def test_more_seeds_than_any_table_has_are_refused() -> None:
    with pytest.raises(ValueError, match=r"SEEDS must be .* at most 100, got 1000000000"):
        parse_seeds("1000000000")


@pytest.mark.parametrize("text", ["", "0.5", "a", "1;2", "-3"])
def test_seeds_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="SEEDS must be"):
        parse_seeds(text)


def test_a_table_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="TABLE must be all or of snli, gigaword"):
        parse_names("TABLE", "snli,summarization", TASKS, "all", TASKS)


def test_a_job_is_a_recipe_a_mapping_a_seed_and_what_is_given() -> None:
    runs = list_runs(["snli"], "small", [4, 6], ["data.root=a b", "trainer.epochs=1"])[:3]
    given = ("data.root=a b", "trainer.epochs=1")
    assert [run.job.overrides for run in runs] == [
        ("experiment=small/snli", "attention=softmax", "seed=4", *given),
        ("experiment=small/snli", "attention=softmax", "seed=6", *given),
        ("experiment=small/snli", "attention=sparsemax", "seed=4", *given),
    ]
    assert len({run.job.name for run in runs}) == 3


def test_a_dry_run_names_the_data_and_trains_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce(["--tier", "paper", "--dry", "--seeds", "1"]) == 0
    text = capsys.readouterr().out
    for word in ("needs task.vectors=…", "needs data.root=…", "GloVe 840B", "user agreement"):
        assert word in text


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["ARGS=experiment=small/snli seed=1"], ["experiment=small/snli", "seed=1"]),
        (["ATTN=sparsemax", "ARGS=experiment=small/snli"], ["attention=sparsemax"]),
        (["TASK=gigaword", "ARGS=experiment=small/gigaword"], ["task=gigaword"]),
        (["PAIR=fr-en", "ARGS=experiment=mini/translation"], ["data.pair=fr-en"]),
        ([], ["task=snli", "attention=softmax", "data=snli/mini"]),
    ],
)
def test_make_leaves_an_experiment_its_choices(given: list[str], wanted: list[str], made: Made) -> None:
    words = set(made("make", "train", *given))
    assert {word for word in words if word.partition("=")[0] in ("task", "attention", "data")} <= set(wanted)
    assert set(wanted) <= words


def test_the_command_of_a_job_is_the_job(jobs: dict[str, list[Run]], made: Made) -> None:
    hub = list_runs(["translation"], "paper", [3], ["data=translation/hub", "data.name=wmt14"])[0]
    for job in (jobs["small"][7], hub):
        words = [word for word in made(*shlex.split(job.command)) if word != "logger=none"]
        assert config_hash(plain(read_config(words))) == job.hash
