"""A table holds runs of one corpus and one tier, and says how many seeds stand behind a figure."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.bench.results import read_results
from scripts.markdown import filled
from scripts.paper.reported import read_paper
from scripts.paper.scale import study_tables
from scripts.paper.table import run_tables
from scripts.paper.tables import results_of_tiers
from scripts.tables import files, main, page_parts
from tasks._registry import TASKS
from tasks.training.records import Record, RecordError, write_record
from tests.example_record import RECORD
from tests.scripts.paper.committed import ROOT, committed, committed_records

SEQ2SEQ = {
    "task": {
        "text": {"tokenizer": "words", "vocab_size": 4000},
        "model": {"cell": "lstm", "layers": 1, "hidden_size": 8, "bidirectional": True,
                  "input_feed": False, "dropout": 0.1},
        "batches": {"size": 64, "count": "sentences"},
        "search": {"beam_size": 5},
    },
    "optim": {"_target_": "tasks.training.optim.AdamW", "lr": 0.004, "betas": [0.9, 0.999]},
    "trainer": {"epochs": 2, "threads": 1, "seed": 1},
}  # fmt: skip
READING = dict.fromkeys(("zero_share", "support_runs", "segments", "segment_length"), 0.25)
READING |= {"groups": 3.0, "group_size": 1.0, "entropy": 0.5, "perplexity": 2.0}
LINKS = {"aer": 0.25, "alignment_precision": 0.75, "alignment_recall": 0.8}


def translation(*tests: str, **changes: object) -> Record:
    """A run with links in the last test set only."""
    splits = "dev", *tests
    scores = {split: {"bleu": 30.0 + n, "chrf": 50.0 + n, **READING} for n, split in enumerate(splits)}
    scores[tests[-1]] |= LINKS
    signatures = {split: {"bleu": "tok:13a", "chrf": "nc:6"} for split in scores}
    whole = replace(RECORD, task="translation", config=SEQ2SEQ, metrics=scores, signatures=signatures)
    return replace(whole, **changes)


def gigaword(measures: dict[str, str]) -> Record:
    scores = {"rouge1": 30.0, "rouge2": 10.0, "rougeL": 25.0, **READING}
    signatures = {split: {"rouge": f"{measure}|cut:none"} for split, measure in measures.items()}
    metrics = dict.fromkeys(measures, scores)
    return replace(RECORD, task="gigaword", config=SEQ2SEQ, metrics=metrics, signatures=signatures)


def shown(*records: Record) -> str:
    return run_tables(TASKS[records[0].task], records)


def heads(text: str) -> list[list[str]]:
    """The columns of every table in a text."""
    lines = text.split("\n")
    return [lines[n - 1].strip("| ").split(" | ") for n, line in enumerate(lines) if line.startswith("| ---")]


def table(records: list[Record]) -> str:
    """The one table of these runs."""
    return "\n".join(line for line in shown(*records).split("\n") if line.startswith("|"))


def with_corpus(**changes: object) -> Record:
    return replace(RECORD, corpus={**RECORD.corpus, **changes})


def test_seeds_are_averaged_and_named() -> None:
    other = replace(RECORD, seed=2, metrics={"dev": {"accuracy": 0.7}, "test": {"accuracy": 0.8}})
    row = table([other, RECORD]).split("\n")[2]
    assert row.startswith("| fusedmax (gamma 1, lam 0.1) | 1, 2 | 60.00 ± 14.14 | 70.00 ± 14.14 | 1, 1 |")


def test_one_seed_has_no_spread() -> None:
    assert "| 1 | 50.00 | 60.00 |" in table([RECORD])


@pytest.mark.parametrize(
    "other",
    [with_corpus(sha256="2" * 64), with_corpus(name="mini"), replace(RECORD, tier="paper")],
    ids=["same name, other content", "other name", "other tier"],
)
def test_other_data_never_shares_a_table(other: Record) -> None:
    text = shown(RECORD, other)
    assert text.count("## snli on") == 2
    assert "1, 1" not in text


def test_other_settings_never_share_a_row() -> None:
    other = replace(RECORD, config={**RECORD.config, "optim": {"lr": 0.1, "weight_decay": 0.0}})
    assert shown(RECORD, other).count("### frozen vectors") == 2
    stronger = replace(RECORD, mapping_params={"gamma": 1.0, "lam": 0.5})
    assert len(table([RECORD, stronger]).split("\n")) == 4


@pytest.mark.parametrize(
    ("key", "value"), [("max_steps", 30), ("patience", 1), ("clip_norm", 0.1), ("epochs", 1)]
)
def test_a_trial_is_never_averaged_with_runs(key: str, value: object) -> None:
    """Also where the line that tells a setting says nothing of what was changed."""
    trial = replace(RECORD, id="trial", seed=2, config=changed(RECORD.config, key, value))
    rows = [line for line in shown(RECORD, trial).split("\n") if line.startswith("| fusedmax")]
    assert len(rows) == 2 and not any("±" in row for row in rows)


def changed(config: dict[str, Any], key: str, value: object) -> dict[str, Any]:
    return {**config, "trainer": {**config["trainer"], key: value}}


def test_the_whole_of_a_page() -> None:
    metrics = {"accuracy": 0.6, "zero_share": 0.25, "loss": 1.0}
    text = shown(replace(RECORD, metrics={"dev": {"accuracy": 0.5}, "test": metrics}))
    assert text.splitlines() == [
        "# Textual entailment",
        "",
        "Shares in %. Derived from results/runs by `make tables`; not written by hand.",
        "",
        "## snli on snli, tier small",
        "",
        "3 train, 2 dev, 1 test pairs, SHA-256 1111111111111111…",
        "",
        "### frozen vectors, hidden 8, batch 4, lr 0.001, dropout 0.1, 2 epochs",
        "",
        "| mapping | seeds | dev accuracy | test accuracy | zero weights | best epoch | s / epoch, fastest "
        "| time in the mapping |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        "| fusedmax (gamma 1, lam 0.1) | 1 | 50.00 | 60.00 | 25.0 | 1 | 2.0 | 1.0 |",
    ]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pages that have places for tables, and no results."""
    (tmp_path / "docs").mkdir()
    for page, parts in page_parts([], {}).items():
        (tmp_path / page).write_text("".join(f"<!-- {name} --><!-- end of {name} -->" for name in parts))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_task_has_its_file(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, record in enumerate([RECORD, translation("test"), gigaword({"dev": "f1", "test": "f1"})]):
        write_record(project / "results/runs", replace(record, id=f"run{number}"))
    main()
    folder = project / "results/tables"
    texts = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    assert sorted(texts) == ["gigaword.md", "snli.md", "translation.md"]
    printed = capsys.readouterr().out
    assert all(text in printed for text in texts.values())
    assert [text.count("\n## ") for text in texts.values()] == [1, 1, 1]


def test_no_records_no_tables(project: Path) -> None:
    main()
    assert not list(project.glob("results/tables/*"))


def test_translations_keep_the_order_of_their_test_sets() -> None:
    scores, rest, attention, alignment = heads(shown(translation("test_b", "test_a")))
    assert scores == ["mapping", "seeds", "dev BLEU, greedy", "test_b BLEU", "test_a BLEU",
                      "test_b chrF", "test_a chrF"]  # fmt: skip
    assert rest[2:5] == ["test_b perplexity", "test_a perplexity", "best epoch"]
    assert "#### Attention on test_b" in shown(translation("test_b", "test_a"))
    assert attention[2:] == ["zero weights", "support runs", "segments", "segment length", "groups",
                             "group size", "entropy"]  # fmt: skip
    assert alignment == ["mapping", "seeds", "test_a AER", "test_a precision", "test_a recall"]


def test_translations_are_averaged_over_seeds_in_their_own_units() -> None:
    other = translation("test", seed=2)
    other.metrics["test"] |= {"bleu": 33.0, "aer": 0.35}
    text = shown(translation("test"), other)
    assert "| 1, 2 | 30.00 ± 0.00 | 32.00 ± 1.41 | 51.00 ± 0.00 |" in text
    assert "| 1, 2 | 30.0 ± 7.1 | 75.0 ± 0.0 | 80.0 ± 0.0 |" in text


@pytest.mark.parametrize("tests", [1, 3, 4, 9])
def test_no_table_is_wider_than_a_page(tests: int) -> None:
    record = translation(*(f"test_{n}" for n in range(tests)))
    found = heads(shown(record))
    assert all(columns[:2] == ["mapping", "seeds"] and 2 < len(columns) <= 10 for columns in found)
    columns = [column for of in found for column in of[2:]]
    assert len(columns) == len(set(columns)) == 1 + 3 * tests + 5 + 7 + 3


def test_what_one_mapping_lacks_is_a_dash() -> None:
    other = translation("test", mapping="softmax", mapping_params={"gamma": 1.0})
    for name in LINKS:
        del other.metrics["test"][name]
    assert "| softmax (gamma 1) | 1 | – | – | – |" in shown(translation("test"), other)
    assert "alignment" not in shown(other)


def test_signatures_stand_below_and_keep_scores_apart() -> None:
    record = translation("test")
    assert "Signatures: bleu (`tok:13a`) of dev, test; chrf (`nc:6`) of dev, test." in shown(record)
    other = replace(record, seed=2, signatures={"dev": {"bleu": "tok:13a"}, "test": {"bleu": "tok:intl"}})
    text = shown(record, other)
    assert "bleu (`tok:13a`) of dev; bleu (`tok:intl`) of test." in text
    assert text.count("### up to 4,000 words") == 2 and "| 1, 2 |" not in text


def test_any_setting_keeps_runs_apart_and_threads_do_not() -> None:
    record = translation("test")
    smoothed = {**SEQ2SEQ["task"], "batches": {**SEQ2SEQ["task"]["batches"], "label_smoothing": 0.1}}
    other = replace(record, seed=2, config={**SEQ2SEQ, "task": smoothed})
    assert shown(record, other).count("\n### ") == 2
    assert "`task.batches.label_smoothing=0.1`" in shown(other)
    elsewhere = {**SEQ2SEQ, "trainer": {"epochs": 2, "threads": 8, "seed": 2}}
    assert "| 1, 2 |" in shown(record, replace(record, seed=2, config=elsewhere))


def test_headlines_stand_under_the_measure_of_their_test_set() -> None:
    text = shown(gigaword({"dev": "f1", "gigaword_test": "f1", "duc2004_test": "recall"}))
    f1, _, recall = text.partition("#### Headlines, recall")
    assert "#### Headlines, F1" in f1
    assert heads(f1)[0][2:] == [
        *(f"dev ROUGE-{n}, greedy" for n in "12L"), *(f"gigaword_test ROUGE-{n}" for n in "12L")
    ]  # fmt: skip
    assert heads(recall)[0][2:] == [f"duc2004_test ROUGE-{n}" for n in "12L"]


def test_records_that_cannot_be_shown_are_named(project: Path) -> None:
    with pytest.raises(RecordError, match="a must say how ROUGE of test was measured, f1 or recall, got ''"):
        shown(replace(gigaword({"dev": "f1", "test": "f1"}), signatures={"dev": {"rouge": "f1|"}}))
    write_record(project / "results/runs", replace(RECORD, task="parsing"))
    with pytest.raises(RecordError, match="must be of the task snli, gigaword, translation, got 'parsing'"):
        main()


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
