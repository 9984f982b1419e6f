"""No table of real data without what is reached without attention, on the very corpus of the table."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from scripts.baselines import main
from scripts.paper.reported import Baselines, read_baselines
from scripts.paper.selection import UNIFORM, first_run, recipes_of, rows_of
from tasks._registry import TASKS
from tests.example_record import RECORD
from tests.scripts.paper.committed import ROOT, committed, committed_records

SCORES = {"majority": {"test": {"accuracy": 0.3}}}
FOUND = Baselines("snli", "mini", RECORD.corpus, SCORES, {}, "c", "make", {})


@pytest.mark.parametrize("tier", ["mini", "small"])
@pytest.mark.parametrize("task", TASKS)
def test_every_table_of_ours_has_baselines(task: str, tier: str) -> None:
    (first, *_) = recipes_of(committed_records(), task, tier)
    corpus = first_run(first.rows).corpus
    found = read_baselines(ROOT / "results" / "baselines", task, tier, corpus["sha256"])
    assert found is not None and found.corpus["sizes"] == corpus["sizes"] and found.commit
    assert f"{task}-" in "".join(committed("results/baselines"))
    for scores in found.scores.values():
        assert set(scores) == {split for split in corpus["sizes"] if split in scores} != set()
    table = (ROOT / "results" / "tables" / f"{task}-{tier}.csv").read_text(encoding="utf-8")
    names = [line.split(",")[0] for line in table.splitlines() if line.split(",")[1] == "baseline"]
    without = ["no attention"] if rows_of(committed_records(), task + UNIFORM, tier) else []
    assert names == [*found.scores, *without]


def test_baselines_come_back_with_their_history(tmp_path: Path) -> None:
    (tmp_path / "snli-snli.json").write_text(json.dumps(asdict(FOUND)))
    assert read_baselines(tmp_path, "snli", "mini", RECORD.corpus["sha256"]) == FOUND
    assert read_baselines(tmp_path, "snli", "small", RECORD.corpus["sha256"]) is None
    assert read_baselines(tmp_path, "snli", "mini", "2" * 64) is None
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(ValueError, match=r"a\.json must hold what is kept there, got"):
        read_baselines(tmp_path, "snli", "mini", RECORD.corpus["sha256"])


def test_the_command_writes_what_tables_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    few = ["data.train=30", "data.dev=3", "data.test=3"]
    main(["--task", "gigaword", "--tier", "mini", *few, "task.text.vocab_size=200"])
    path = Path("results/baselines/gigaword-mini.json")
    found = Baselines(**json.loads(path.read_text()))
    assert found.scores.keys() == {"first 8 words", "first 75 bytes"}
    assert found.scores["first 8 words"]["test"]["rougeL"] > 0
    assert found.signatures["test"]["rouge"].startswith("f1|")
    assert replace(found, versions={}).command.startswith("make baselines TASK=gigaword TIER=mini ARGS='data")
    assert str(path) in capsys.readouterr().out
