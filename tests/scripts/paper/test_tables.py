"""Ours stand beside the paper's, a tier at a time, and a cell holds the runs of its experiment alone."""

from dataclasses import replace
from pathlib import Path

import pytest

from scripts.paper.metrics import metrics_in
from scripts.paper.reported import read_paper
from scripts.paper.selection import MAPPINGS, by_recipe, rows_of
from scripts.paper.table import Table
from scripts.paper.tables import cost_table, interpretability_table, results_of_tiers, score_table
from tasks.training.records import Record, RecordError
from tests.example_record import RECORD

PAPER = read_paper()
READING = {"zero_share": 0.5, "segments": 2.0, "groups": 1.5, "entropy": 0.25}


def seeds(mapping: str, scores: dict[int, float], **changes: object) -> list[Record]:
    return [
        replace(RECORD, id=f"{mapping}{seed}", mapping=mapping, seed=seed,
                metrics={"dev": {"accuracy": 0.5}, "test": {"accuracy": score, **READING}}, **changes)
        for seed, score in scores.items()
    ]  # fmt: skip


def texts(table: Table) -> dict[str, list[str]]:
    return {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}


def test_ours_stands_beside_the_papers_figures() -> None:
    row = {"softmax": seeds("softmax", {1: 0.6, 2: 0.61}), "pnormmax": seeds("pnormmax", {1: 0.65})}
    table = score_table("snli", PAPER.tables["snli"], "small", row)
    assert table.name == "snli-small"
    assert table.heads == ("mapping", "paper: test accuracy", "ours: test accuracy", "seeds")
    assert texts(table) == {
        "softmax": ["81.66ʳ", "60.50 ± 0.71", "1, 2"],
        "sparsemax": ["82.39ʳ", "–", "–"],
        "fusedmax": ["82.41ʳ", "–", "–"],
        "oscarmax": ["81.76ʳ", "–", "–"],
        "pnormmax": ["?", "65.00", "1"],
    }
    assert [(row[1].best, row[2].best) for row in table.rows] == [
        (False, False), (False, False), (True, False), (False, False), (False, True)
    ]  # fmt: skip
    assert table.rows[0][2].runs == ("softmax1", "softmax2")
    assert table.rows[0][2].note == "95 % interval over 2 seeds: 54.15 to 66.85"
    assert "the two do not compare" in table.intro and "SHA-256 1111" in table.intro
    assert "do not compare" not in score_table("snli", PAPER.tables["snli"], "paper", row).intro


def test_a_mapping_beside_the_papers_has_no_figure_of_its() -> None:
    records = [
        replace(one, experiment="small/snli", task="snli", tier="small")
        for name in ("softmax", "entmax15", "oscarmax_published")
        for one in seeds(name, {1: 0.7})
    ]
    table = score_table("snli", PAPER.tables["snli"], "small", rows_of(records, "snli", "small"))
    assert [row[0].text for row in table.rows] == [*MAPPINGS, "entmax15"]
    assert texts(table)["entmax15"] == ["–", "70.00", "1"]


def test_a_stated_figure_has_no_mark() -> None:
    row = {"softmax": [replace(RECORD, task="gigaword", metrics={"duc2004": {"rouge1": 1.0}})]}
    shown = texts(score_table("gigaword", PAPER.tables["gigaword"], "small", row))
    assert shown["fusedmax"][:6] == ["28.42ʳ", "9.96ʳ", "25.55", "36.09ʳ", "17.62ʳ", "33.69"]
    assert shown["oscarmax"][5] == "33.03ʳ"


@pytest.mark.parametrize(
    ("task", "splits", "metric", "labels"),
    [
        ("translation", ["dev", "b", "a"], "bleu", ["BLEU, b", "BLEU, a"]),
        ("gigaword", ["dev", "gigaword", "duc2004"], "rougeL", ["DUC 2004 R-L", "Gigaword R-L"]),
        ("gigaword", ["dev", "test"], "rougeL", ["R-L, test"]),
        ("snli", ["dev", "test"], "accuracy", ["test accuracy"]),
        ("snli", ["dev"], "accuracy", []),
    ],
)
def test_scores_stand_under_what_they_were_measured_on(
    task: str, splits: list[str], metric: str, labels: list[str]
) -> None:
    record = replace(RECORD, task=task, metrics={split: {metric: 1.0} for split in splits})
    assert [one.label for one in metrics_in(PAPER.tables[task], record)] == labels


def run(name: str, **changes: object) -> Record:
    """A run of mini/snli."""
    return replace(
        RECORD, id=name, **{"mapping": "softmax", "tier": "mini", "experiment": "mini/snli", **changes}
    )


def test_a_cell_holds_all_seeds_of_its_experiment() -> None:
    other = [
        run("b", seed=2),
        run("a"),
        run("none", experiment="", seed=3),
        run("tier", experiment="small/snli", tier="small", seed=5),
        run("task", experiment="mini/gigaword", seed=5),
        run("mapping", mapping="oscarmax_published", seed=6),
    ]
    assert {m: [r.id for r in runs] for m, runs in rows_of(other, "snli", "mini").items()} == {
        "softmax": ["a", "b"]
    }


def test_of_two_runs_of_a_seed_the_one_with_details_stands() -> None:
    found = [run("a"), run("b", details="0" * 64), run("c", details="0" * 64)]
    assert [r.id for r in rows_of(found, "snli", "mini")["softmax"]] == ["b"]


def test_runs_of_two_corpora_share_no_cell() -> None:
    elsewhere = run("b", seed=2, corpus={**RECORD.corpus, "sha256": "2" * 64})
    with pytest.raises(RecordError, match="must be of one corpus, got those of a and b"):
        rows_of([run("a"), elsewhere], "snli", "mini")


def test_tiers_never_share_a_table() -> None:
    corpus = {**RECORD.corpus, "name": "subset"}
    records = [run("a"), run("b", tier="small", experiment="small/snli", corpus=corpus)]
    results = results_of_tiers(records, Path("nowhere"), PAPER)
    tables = {table.name: table for result in results for table in result.tables}
    assert set(tables) == {
        f"{name}-{tier}"
        for name in ("snli", "claims", "interpretability", "cost")
        for tier in ("mini", "small")
    }
    for name, table in tables.items():
        behind = {run for row in table.rows for cell in row for run in cell.runs}
        assert behind <= ({"a"} if name.endswith("mini") else {"b"}), name
        assert behind or name.startswith("claims"), name  # which want two mappings
        assert all(len(row) == len(table.heads) for row in table.rows)


def test_no_runs_no_tables() -> None:
    assert results_of_tiers([], Path("nowhere"), PAPER) == []


def test_what_a_run_does_not_know_of_its_attention_is_a_dash() -> None:
    row = {"softmax": seeds("softmax", {1: 0.6}), "fusedmax": seeds("fusedmax", {1: 0.6, 2: 0.6})}
    del row["fusedmax"][1].metrics["test"]["entropy"]
    table = interpretability_table("small", {"snli": row}, [])
    assert [[cell.text for cell in line[:7]] for line in table.rows] == [
        ["snli on snli, test", "softmax", "1", "50.0", "–", "2.00", "–"],
        ["snli on snli, test", "fusedmax", "1, 2", "50.0 ± 0.0", "–", "2.00 ± 0.00", "–"],
    ]
    entropies = [line[table.heads.index("entropy, nats")].text for line in table.rows]
    assert entropies == ["0.25", "–"]


def test_texts_with_known_links_are_shown_without_a_cell() -> None:
    scores = {"a": {"bleu": 1.0}, "hansards": {"aer": 0.4}}
    linked = replace(RECORD, id="links", task="translation", metrics=scores)
    others = [replace(linked, id="mini", tier="mini"), replace(linked, id="none", metrics={"a": {}})]
    row = {"softmax": seeds("softmax", {1: 0.6})}
    table = interpretability_table("small", {"snli": row}, [*row["softmax"], linked, *others])
    assert [line[0].text for line in table.rows] == ["snli on snli, test", "translation on snli, hansards"]
    assert table.rows[1][-1].text == "40.0"


def test_runs_of_one_recipe_differ_in_mapping_and_seed_alone() -> None:
    records = [
        replace(RECORD, id=f"{mapping}{seed}{lr}", mapping=mapping, seed=seed,
                config={"attention": {"_target_": mapping}, "seed": seed, "optim": {"lr": lr}})
        for lr in (1.0, 2.0) for mapping in ("oscarmax", "softmax") for seed in (2, 1)
    ]  # fmt: skip
    found = by_recipe(records)
    assert [list(row) for row in found] == [["softmax", "oscarmax"]] * 2
    assert all([r.seed for r in runs] == [1, 2] for row in found for runs in row.values())
    assert all(len({r.config["optim"]["lr"] for runs in row.values() for r in runs}) == 1 for row in found)


def test_costs_are_of_the_fastest_run_on_one_machine() -> None:
    def timed(mapping: str, times: list[float], threads: int = 1) -> list[Record]:
        found = seeds(mapping, dict.fromkeys(range(len(times)), 0.5), threads=threads)
        return [replace(r, seconds={**r.seconds, "per_epoch": t}) for r, t in zip(found, times, strict=True)]

    row = {"softmax": timed("softmax", [12.0, 10.0]),
           "fusedmax": [*timed("fusedmax", [15.0, 19.0]), *timed("fusedmax", [5.0], threads=4)]}  # fmt: skip
    table = cost_table("small", {"snli": row})
    shown = [[cell.text for cell in line[1:6]] for line in table.rows]
    assert shown == [
        ["cpu, 1 thread", "softmax", "10.0", "1.00", "12.0"],
        ["cpu, 1 thread", "fusedmax", "15.0", "1.50", "19.0"],
        ["cpu, 4 threads", "fusedmax", "5.0", "–", "5.0"],
    ]
    assert set(MAPPINGS) >= {line[2].text for line in table.rows}
