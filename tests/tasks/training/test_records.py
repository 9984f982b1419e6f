"""A record is written once and whole; its name and its commit say what it is of."""

import json
import os
import subprocess
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.data import files
from tasks.data.files import write_json_atomically
from tasks.training.provenance import NOT_HASHED, commit, config_hash, run_id, versions
from tasks.training.records import (
    Record,
    RecordError,
    check_metrics,
    read_records,
    write_record,
)
from tests.example_record import RECORD

CONFIG = {
    "command": "make train",
    "data": {"name": "mini", "root": "/data", "sha256": None, "stream": False},
    "logger": {"name": "none"},
    "optim": {"_target_": "tasks.Adam", "lr": 0.1},
    "output_dir": "a",
    "progress": True,
    "results_dir": "b",
    "seed": 1,
    "task": {"hidden": 100, "vectors": "/vectors"},
    "trainer": {"epochs": 3, "device": "cpu"},
}


def record(**changes: Any) -> Record:
    own = {"id": run_id("snli", "fusedmax", "mini", 1, config_hash(CONFIG)), "config": CONFIG, "tier": "mini"}
    return replace(RECORD, **{**own, "versions": versions(), **changes})


def paths(config: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key, value in config.items():
        found += paths(value, f"{prefix}{key}.") if isinstance(value, dict) else [prefix + key]
    return found


@pytest.mark.parametrize("dotted", paths(CONFIG))
def test_the_hash_ignores_the_listed_keys_and_no_other(dotted: str) -> None:
    changed = json.loads(json.dumps(CONFIG))
    *sections, key = dotted.split(".")
    holder = changed
    for section in sections:
        holder = holder[section]
    holder[key] = "something else"
    is_listed = any(f"{dotted}.".startswith(f"{listed}.") for listed in NOT_HASHED)
    assert (config_hash(changed) == config_hash(CONFIG)) == is_listed
    del holder[key]
    assert (config_hash(changed) == config_hash(CONFIG)) == is_listed


def test_the_list_of_keys_outside_the_hash_is_this_one() -> None:
    assert set(paths(CONFIG)) - set(NOT_HASHED) == {
        "data.name", "logger.name", "optim.lr", "seed", "task.hidden", "trainer.epochs",
    }  # fmt: skip
    assert set(NOT_HASHED) - set(paths(CONFIG)) == {"logger"}


def test_the_hash_does_not_change_with_order_or_release() -> None:
    assert config_hash({"a": 1, "b": {"c": 0.1, "d": None}}) == config_hash(
        {"b": {"d": None, "c": 0.1}, "a": 1}
    )
    assert config_hash({"a": 1}) == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
    assert config_hash({"trainer": "x"}) != config_hash({"data": None})


def test_the_hash_ignores_a_later_key_at_its_earlier_value_only() -> None:
    def of(precision: str) -> str:
        return config_hash({**CONFIG, "trainer": {**CONFIG["trainer"], "precision": precision}})

    def of_data(revision: str | None) -> str:
        return config_hash({**CONFIG, "data": {**CONFIG["data"], "revision": revision}})

    assert of("float32") == config_hash(CONFIG) != of("bfloat16")
    assert of_data(None) == config_hash(CONFIG) != of_data("1a2b3c")


@pytest.mark.parametrize(("config", "error"), [({"a": float("nan")}, ValueError), ({"a": {1, 2}}, TypeError)])
def test_the_hash_refuses_what_is_not_json(config: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        config_hash(config)


def test_the_id_is_a_file_name() -> None:
    name = run_id("snli", "fusedmax", "../a folder/x", 7, config_hash(CONFIG))
    assert name == f"snli-fusedmax-.._a_folder_x-s7-{config_hash(CONFIG)[:8]}"


def test_a_record_comes_back(tmp_path: Path) -> None:
    path = write_record(tmp_path / "runs", record())
    assert path.name == f"{record().id}.json"
    assert read_records(tmp_path / "runs") == [record()]
    assert list(json.loads(path.read_text()))[:3] == ["id", "task", "mapping"]
    assert read_records(tmp_path / "nowhere") == []


def test_a_record_without_the_younger_fields_is_read(tmp_path: Path) -> None:
    path = write_record(tmp_path, record())
    values = json.loads(path.read_text())
    path.write_text(json.dumps({n: v for n, v in values.items() if n not in ("signatures", "history")}))
    assert read_records(tmp_path) == [record()]


def test_a_finished_record_is_never_replaced(tmp_path: Path) -> None:
    path = write_record(tmp_path, record())
    content = path.read_bytes()
    again = record(seconds={"total": 9.0}, commit="f" * 40, config={**CONFIG, "logger": "wandb"})
    assert write_record(tmp_path, again) == path
    with pytest.raises(RecordError, match=r"differs from this one in metrics; move it away"):
        write_record(tmp_path, record(metrics={"dev": {"accuracy": 0.6}}))
    with pytest.raises(RecordError, match="differs from this one in config, seed;"):
        write_record(tmp_path, record(seed=2, config={**CONFIG, "seed": 2}))
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:50], "cannot read the record"),
        (lambda text: "[]", "too few"),
        (lambda text: text.replace('"seed"', '"sede"', 1), "got sede too many and seed too few"),
        (lambda text: "\ufeff" + text, "cannot read the record"),
    ],
)
def test_a_damaged_record_is_named(tmp_path: Path, damage: Callable[[str], str], message: str) -> None:
    path = write_record(tmp_path, record())
    path.write_text(damage(path.read_text()))
    with pytest.raises(RecordError, match=message) as refused:
        read_records(tmp_path)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("operation", ["fsync", "replace"])
def test_an_interrupted_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    path = tmp_path / "deep" / "file[1].json"
    write_json_atomically(path, {"λ": 1})

    def fail(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(files.os, operation, fail)
        write_json_atomically(path, {"λ": 2})
    assert json.loads(path.read_text()) == {"λ": 1}
    with pytest.raises(ValueError, match="JSON"):
        write_json_atomically(path, {"λ": float("inf")})
    write_json_atomically(path, {"λ": 3})
    assert [file.name for file in path.parent.iterdir()] == ["file[1].json"]
    assert json.loads(path.read_text()) == {"λ": 3}


def test_the_commit_says_when_the_tree_differs(tmp_path: Path) -> None:
    assert commit(tmp_path) == "unknown"

    def git(*arguments: str) -> None:
        author = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *author, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    (tmp_path / "code.py").write_text("1\n")
    git("add", ".")
    git("commit", "--no-verify", "-m", "first")
    os.utime(tmp_path / "code.py", (0, 0))  # what makes git write its index again, under a lock
    index = (tmp_path / ".git/index").read_bytes()
    assert len(commit(tmp_path)) == 40
    assert (tmp_path / ".git/index").read_bytes() == index
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "record.json").write_text("{}")
    assert len(commit(tmp_path)) == 40
    (tmp_path / "code.py").write_text("2\n")
    assert commit(tmp_path).endswith("-dirty")
    git("checkout", "code.py")
    (tmp_path / "new.py").write_text("")
    assert commit(tmp_path).endswith("-dirty")


def test_versions_name_what_a_result_depends_on() -> None:
    assert {"python", "torch", "numpy"} <= set(versions())


@pytest.mark.parametrize(
    ("again", "is_the_same"),
    [
        (0.6, True),
        (0.6 * (1 + 5e-7), True),
        (0.6 * (1 + 2e-6), False),
        (0.6 * (1 - 2e-6), False),
        (None, False),
    ],
)
def test_metrics_may_differ_by_a_rounding_alone(again: float | None, is_the_same: bool) -> None:
    kept = record(metrics={"test": {"accuracy": 0.6}})
    measured = {"dev": {"loss": 1.0}, "test": {} if again is None else {"accuracy": again}}
    said = pytest.raises(
        RecordError, match=rf"must have the accuracy 0\.6 of its record on test, got {again}$"
    )
    with nullcontext() if is_the_same else said:
        check_metrics(kept, measured)
