"""Runs that differ in more than their seeds are never averaged, and what is committed is what records say."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.bench.render import read_results
from scripts.markdown import filled
from scripts.paper.reported import read_paper
from scripts.paper.selection import by_label, by_setting
from scripts.paper.studies import study_tables
from scripts.paper.tables import results_of_tiers
from scripts.tables import all_runs, files, main, page_parts
from tasks.training.records import Record, RecordError, write_record
from tests.example_record import RECORD
from tests.scripts.paper.committed import ROOT, committed, committed_records


def with_corpus(**changes: object) -> Record:
    return replace(RECORD, corpus={**RECORD.corpus, **changes})


def with_trainer(**changes: object) -> Record:
    return replace(RECORD, config={**RECORD.config, "trainer": {**RECORD.config["trainer"], **changes}})


@pytest.mark.parametrize(
    "other",
    [
        with_corpus(sha256="2" * 64), with_corpus(name="mini"), replace(RECORD, tier="paper"),
        replace(RECORD, config={**RECORD.config, "optim": {"lr": 0.1, "weight_decay": 0.0}}),
        with_trainer(max_steps=30), with_trainer(patience=1), with_trainer(epochs=1),
    ],
    ids=["content", "corpus", "tier", "rate", "steps", "patience", "epochs"],
)  # fmt: skip
def test_runs_of_another_setting_stand_apart(other: Record) -> None:
    assert len(by_setting([RECORD, replace(other, seed=2)])) == 2


def test_seeds_and_threads_tell_no_settings_apart() -> None:
    ((*_, runs),) = by_setting([replace(with_trainer(threads=8), seed=2), RECORD])
    (found,) = by_label(runs).values()
    assert [run.seed for run in found] == [1, 2]


def test_every_run_has_its_row_with_all_of_its_figures() -> None:
    other = replace(RECORD, id="b", seed=2, metrics={"test": {"accuracy": 0.7, "loss": 1.5}})
    first, second = csv.DictReader(io.StringIO(all_runs([RECORD, other])))
    assert (first["run"], first["mapping"], first["dev accuracy"], first["test loss"]) == (
        "a", "fusedmax (gamma 1, lam 0.1)", "0.5", ""
    )  # fmt: skip
    assert (second["seed"], second["test accuracy"], second["test loss"]) == ("2", "0.7", "1.5")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pages that have places for tables, and no results."""
    (tmp_path / "docs").mkdir()
    for page, parts in page_parts([], {}).items():
        (tmp_path / page).write_text("".join(f"<!-- {name} --><!-- end of {name} -->" for name in parts))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_task_has_its_file(project: Path) -> None:
    for name in ("snli", "translation", "gigaword"):
        write_record(project / "results/runs", replace(RECORD, id=name, task=name))
    main()
    written = sorted(path.name for path in (project / "results/tables").iterdir())
    assert written == ["gigaword.csv", "snli.csv", "translation.csv"]


def test_no_records_no_tables(project: Path) -> None:
    main()
    assert not list(project.glob("results/tables/*"))


def test_records_of_no_task_are_named(project: Path) -> None:
    write_record(project / "results/runs", replace(RECORD, task="parsing"))
    with pytest.raises(RecordError, match="must be of the task snli, gigaword, translation, got 'parsing'"):
        main()


def test_a_config_of_another_task_is_named() -> None:
    with pytest.raises(RecordError, match=r"a must hold a config of snli, got KeyError\('train_vectors'\)"):
        by_setting([replace(RECORD, config={"task": {}, "optim": {}, "trainer": {}})])


def test_the_committed_tables_are_those_of_the_committed_records() -> None:
    records = committed_records()
    results = results_of_tiers(records, ROOT / "results", read_paper())
    derived = files(records, results, study_tables(ROOT / "results"))
    assert set(derived) == committed("results/tables")
    for name, text in derived.items():
        assert (ROOT / "results" / "tables" / name).read_text(encoding="utf-8") == text, name
    for page, parts in page_parts(results, read_results(ROOT / "results/bench/cpu.json")).items():
        text = (ROOT / page).read_text(encoding="utf-8")
        assert filled(text, parts) == text, page
