"""Ours stand beside the paper's, a tier at a time, and a cell holds the runs of its experiment alone."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.paper.claims import claims_of_tier
from scripts.paper.reported import Baselines, read_paper
from scripts.paper.selection import MAPPINGS, Recipe, Rows, by_label, by_setting, recipes_of, rows_of
from scripts.paper.significance import ItemScores
from scripts.paper.table import Table, metrics_in, to_markdown
from scripts.paper.tables import (
    attention_tables,
    cost_table,
    findings,
    overview_table,
    recipes_with_links,
    results_of_tiers,
    score_table,
)
from scripts.tables import short_part, whole_part
from tasks.attention import AttentionGrid
from tasks.training.records import Details, Record, RecordError, write_details
from tests.example_record import RECORD

PAPER = read_paper()
READING = {"zero_share": 0.5, "segments": 2.0, "groups": 1.5, "entropy": 0.25}


def seeds(mapping: str, scores: dict[int, float], **changes: object) -> list[Record]:
    return [
        replace(RECORD, id=f"{mapping}{seed}", mapping=mapping, seed=seed,
                metrics={"dev": {"accuracy": 0.5}, "test": {"accuracy": score, **READING}}, **changes)
        for seed, score in scores.items()
    ]  # fmt: skip


def recipes(row: Rows, name: str = "snli") -> list[Recipe]:
    return [Recipe(name, row)]


def texts(table: Table) -> dict[str, list[str]]:
    return {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}


def test_ours_stands_beside_the_papers_figures() -> None:
    row = {"softmax": seeds("softmax", {1: 0.6, 2: 0.61}), "pnormmax": seeds("pnormmax", {1: 0.65})}
    table = score_table("snli", PAPER.tables["snli"], "small", recipes(row))
    assert table.name == "snli-small"
    assert table.heads == (
        "mapping",
        "recipe",
        "strengths",
        "paper: test accuracy",
        "ours: test accuracy",
        "seeds",
    )
    strengths = "γ 1, λ 0.1"
    assert texts(table) == {
        "softmax": ["snli", strengths, "81.66ʳ", "60.50 ± 0.71", "1, 2"],
        "sparsemax": ["snli", "–", "82.39ʳ", "–", "–"],
        "fusedmax": ["snli", "–", "82.41ʳ", "–", "–"],
        "oscarmax": ["snli", "–", "81.76ʳ", "–", "–"],
        "pnormmax": ["snli", strengths, "?", "65.00", "1"],
    }
    assert [(row[3].best, row[4].best) for row in table.rows] == [
        (False, False), (False, False), (True, False), (False, False), (False, True)
    ]  # fmt: skip
    assert table.rows[0][4].runs == ("softmax1", "softmax2")
    assert table.rows[0][4].note == "95 % interval over 2 seeds: 54.15 to 66.85"
    assert "the two do not compare" in table.intro and "SHA-256 1111" in table.intro
    assert "do not compare" not in score_table("snli", PAPER.tables["snli"], "paper", recipes(row)).intro


def test_recipes_stand_side_by_side_with_mappings_of_their_own() -> None:
    tuned = {
        "softmax": seeds("softmax", {1: 0.7}),
        "entmax15": seeds("entmax15", {1: 0.8}, mapping_params={"gamma": 4.0}),
    }
    both = [*recipes({"softmax": seeds("softmax", {1: 0.6})}), *recipes(tuned, "snli_tuned")]
    table = score_table("snli", PAPER.tables["snli"], "small", both)
    assert [[cell.text for cell in row[:5]] for row in table.rows[4:]] == [
        ["pnormmax", "snli", "–", "?", "–"],
        ["softmax", "snli_tuned", "γ 1, λ 0.1", "–", "70.00"],
        ["entmax15", "snli_tuned", "γ 4", "–", "80.00"],
    ]


def test_baselines_stand_below_the_mappings() -> None:
    row = {"softmax": seeds("softmax", {1: 0.6})}
    simple = Baselines(
        "snli", "small", RECORD.corpus, {"majority": {"test": {"accuracy": 0.34}}}, {}, "c", "make", {}
    )
    uniform = seeds("softmax", {1: 0.5}, mapping_params={"gamma": 1e6})
    table = score_table("snli", PAPER.tables["snli"], "small", recipes(row), simple, uniform)
    assert [[cell.text for cell in row] for row in table.rows[5:]] == [
        ["majority", "baseline", "–", "–", "34.00", "–"],
        ["no attention", "baseline", "γ 1e+06", "–", "50.00", "1"],
    ]


HEADLINES = {"rouge": "f1|cut:none|stem:porter"}


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        ("recall|cut:75b", "b must have Gigaword R-1 measured by f1, got the signature 'recall"),
        ("", "b must have Gigaword R-1 measured by f1, got the signature ''"),
        ("f1|cut:75b|stem:porter", "b must have the Gigaword R-1 of the signature 'f1|cut:none"),
    ],
)
def test_a_figure_measured_in_another_way_is_refused(signature: str, message: str) -> None:
    first = replace(RECORD, id="a", task="gigaword", metrics={"gigaword": {"rouge1": 1.0}},
                    signatures={"gigaword": HEADLINES})  # fmt: skip
    other = replace(first, id="b", seed=2, signatures={"gigaword": {"rouge": signature}})
    with pytest.raises(RecordError, match=re.escape(message)):
        score_table("gigaword", PAPER.tables["gigaword"], "small", recipes({"softmax": [first, other]}))


def test_a_mapping_beside_the_papers_has_no_figure_of_its() -> None:
    records = [
        replace(one, experiment="small/snli", task="snli", tier="small")
        for name in ("softmax", "entmax15", "oscarmax_published")
        for one in seeds(name, {1: 0.7})
    ]
    table = score_table("snli", PAPER.tables["snli"], "small", recipes_of(records, "snli", "small"))
    assert [row[0].text for row in table.rows] == [*MAPPINGS, "entmax15"]
    assert texts(table)["entmax15"][2:] == ["–", "70.00", "1"]


def test_a_stated_figure_has_no_mark() -> None:
    signatures = {"duc2004": {"rouge": "recall|cut:75b"}}
    metrics = {"duc2004": {"rouge1": 1.0}}
    row = {"softmax": [replace(RECORD, task="gigaword", metrics=metrics, signatures=signatures)]}
    shown = texts(score_table("gigaword", PAPER.tables["gigaword"], "small", recipes(row, "gigaword")))
    assert shown["fusedmax"][2:8] == ["28.42ʳ", "9.96ʳ", "25.55", "36.09ʳ", "17.62ʳ", "33.69"]
    assert shown["oscarmax"][7] == "33.03ʳ"


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
        run("task", experiment="mini/gigaword", task="gigaword", seed=5),
        run("mapping", mapping="oscarmax_published", seed=6),
    ]
    assert {m: [r.id for r in runs] for m, runs in rows_of(other, "snli", "mini").items()} == {
        "softmax": ["a", "b"]
    }


def test_recipes_of_one_corpus_share_a_table_the_tasks_own_first() -> None:
    elsewhere = {**RECORD.corpus, "sha256": "2" * 64}
    found = recipes_of(
        [
            run("a", experiment="mini/snli_decomposable"),
            run("b"),
            run("c", experiment="mini/snli_uniform"),
            run("d", experiment="mini/snli_abroad", corpus=elsewhere),
            run("e", experiment=""),
        ],
        "snli",
        "mini",
    )
    assert [(r.name, r.rows["softmax"][0].id) for r in found] == [("snli", "b"), ("snli_decomposable", "a")]


def test_runs_at_the_strengths_that_were_chosen_are_tuned() -> None:
    at = [{"gamma": 1.0}, {"gamma": 4.0}]
    plain = [
        run(mapping, experiment="mini/snli", mapping=mapping, mapping_params=at[0])
        for mapping in ("softmax", "sparsemax")
    ]
    tuned = run("t", experiment="mini/snli_tuned", mapping="fusedmax", mapping_params=at[1])
    chosen = {"snli": {"softmax": at[0], "sparsemax": at[1], "fusedmax": at[1]}, "other": {"softmax": at[0]}}
    _, found = recipes_of([*plain, tuned], "snli", "mini", chosen)
    assert {mapping: [r.id for r in runs] for mapping, runs in found.rows.items()} == {
        "softmax": ["softmax"],
        "fusedmax": ["t"],
    }
    assert list(found.rows) == ["softmax", "fusedmax"]
    (alone,) = recipes_of(plain, "snli", "mini", chosen)  # a recipe of which nothing was run
    assert alone.name == "snli"


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
        for name in ("snli", "claims", "interpretability", "agreement", "cost")
        for tier in ("mini", "small")
    }
    for name, table in tables.items():
        behind = {run for row in table.rows for cell in row for run in cell.runs}
        assert behind <= ({"a"} if name.endswith("mini") else {"b"}), name
        assert behind or name.startswith(("claims", "agreement")), name  # which want more
        assert all(len(row) == len(table.heads) for row in table.rows)


def test_no_word_of_a_record_is_a_tag_or_heading() -> None:
    records = [run("a", corpus={**RECORD.corpus, "name": "x\n# <script>"})]
    result = results_of_tiers(records, Path("nowhere"), PAPER)
    pages = [*map(to_markdown, result[0].tables), whole_part(result), short_part(result)]
    assert any("on x # &lt;script>" in text for text in pages)
    assert not [text for text in pages if "<script" in text or "\n# &lt;" in text]


def test_no_runs_no_tables() -> None:
    assert results_of_tiers([], Path("nowhere"), PAPER) == []


def test_overview_has_primary_scores_and_best_baseline() -> None:
    rows = {"softmax": seeds("softmax", {1: 0.6, 2: 0.62}), "entmax15": seeds("entmax15", {1: 0.7})}
    scores = {"weak": {"test": {"accuracy": 0.5}}, "strong": {"test": {"accuracy": 0.71}}}
    simple = Baselines("snli", "small", RECORD.corpus, scores, {}, "c0ffee", "make baselines", {})
    table = score_table("snli", PAPER.tables["snli"], "small", recipes(rows), simple)
    found = overview_table("small", {"snli": recipes(rows)}, [table], PAPER)
    assert found.heads == ("recipe: score", *MAPPINGS, "best without attention", "seeds")
    (row,) = ([cell.text for cell in row] for row in found.rows)
    assert row[:2] == ["snli: test accuracy", "61.00 ± 1.41"]
    assert row[2:] == ["–", "–", "–", "–", "71.00 (strong)", "2"]
    assert not any(cell.best for cell in found.rows[0])


def test_what_a_run_does_not_know_of_its_attention_is_a_dash() -> None:
    row = {"softmax": seeds("softmax", {1: 0.6}), "fusedmax": seeds("fusedmax", {1: 0.6, 2: 0.6})}
    del row["fusedmax"][1].metrics["test"]["entropy"]
    table, agreement = attention_tables("small", {"snli": recipes(row)}, [])
    strengths = "γ 1, λ 0.1"
    assert [[cell.text for cell in line[:9]] for line in table.rows] == [
        ["snli on snli, test", "snli", "softmax", strengths, "1", "50.0", "–", "2.00", "–"],
        ["snli on snli, test", "snli", "fusedmax", strengths, "1, 2", "50.0 ± 0.0", "–", "2.00 ± 0.00", "–"],
    ]
    entropies = [line[table.heads.index("entropy, nats")].text for line in table.rows]
    assert entropies == ["0.25", "–"] and not agreement.rows


def test_attention_has_the_interval_over_its_seeds() -> None:
    runs = zip(seeds("softmax", {1: 0, 2: 0, 3: 0}), (0.4, 0.5, 0.6), strict=True)
    row = {"softmax": [replace(one, metrics={"test": {"zero_share": share}}) for one, share in runs]}
    table, _ = attention_tables("small", {"snli": recipes(row)}, [])
    assert table.rows[0][5].text == "50.0 ± 24.8"  # 4.303 · 10 / √3


def test_agreement_stands_beside_what_chance_gives() -> None:
    metrics = {
        "explained_mass": 0.4,
        "explained_mass_uniform": 0.3,
        "edges_at_phrases": 0.5,
        "edges_at_phrases_random": 0.45,
    }
    row = {"fusedmax": [replace(RECORD, mapping="fusedmax", metrics={"test": metrics})]}
    _, table = attention_tables("small", {"snli": recipes(row)}, [])
    assert [cell.text for cell in table.rows[0][5:]] == ["–", "–", "40.0 (30.0)", "–", "50.0 (45.0)"]


def test_texts_with_known_links_are_shown_without_a_cell() -> None:
    scores = {"a": {"bleu": 1.0}, "hansards": {"aer": 0.4}}
    linked = replace(RECORD, id="links", metrics=scores, experiment="small/snli_alignment")
    others = [replace(linked, id="mini", tier="mini"), replace(linked, id="none", metrics={"a": {}})]
    row = {"softmax": seeds("softmax", {1: 0.6})}
    tables = {"snli": recipes(row)}
    with_links = recipes_with_links("small", tables, [*row["softmax"], linked, *others])
    shapes, table = attention_tables("small", tables, with_links)
    assert [line[0].text for line in shapes.rows] == ["snli on snli, test", "snli on snli, hansards"]
    assert [cell.text for cell in table.rows[0][:6]] == [
        "snli on snli, hansards", "snli_alignment", "fusedmax", "γ 1, λ 0.1", "1", "40.0"
    ]  # fmt: skip


def test_runs_of_one_row_differ_in_their_seeds_alone() -> None:
    records = [
        replace(RECORD, id=f"{mapping}{gamma}{seed}{lr}", mapping=mapping, mapping_params={"gamma": gamma},
                config={**RECORD.config, "attention": {"_target_": mapping}, "optim": {"lr": lr}}, seed=seed)
        for lr in (1.0, 2.0) for mapping, gamma in (("oscarmax", 4), ("oscarmax", 1), ("softmax", 1))
        for seed in (2, 1)
    ]  # fmt: skip
    found = [by_label(runs) for *_, runs in by_setting(records)]
    assert [list(row) for row in found] == [
        ["softmax (gamma 1)", "oscarmax (gamma 1)", "oscarmax (gamma 4)"]
    ] * 2
    assert all([r.seed for r in runs] == [1, 2] for row in found for runs in row.values())
    assert all(len({r.config["optim"]["lr"] for runs in row.values() for r in runs}) == 1 for row in found)


def test_costs_are_shares_of_runs_on_one_machine() -> None:
    def spent(mapping: str, shares: list[float], threads: int = 1) -> list[Record]:
        found = seeds(mapping, dict.fromkeys(range(len(shares)), 0.5), threads=threads)
        # The clock alone would call the later run of each mapping many times as slow.
        return [
            replace(r, seconds={"per_epoch": 10.0 ** (r.seed + 1), "mapping_share": s})
            for r, s in zip(found, shares, strict=True)
        ]

    row = {"softmax": spent("softmax", [0.01, 0.01]),
           "fusedmax": [*spent("fusedmax", [0.02, 0.03]), *spent("fusedmax", [0.05], threads=4)]}  # fmt: skip
    table = cost_table("small", {"snli": recipes(row)})
    assert [[cell.text for cell in line[2:]] for line in table.rows] == [
        ["cpu, 1 thread", "softmax", "1.0 ± 0.0", "2"],
        ["cpu, 1 thread", "fusedmax", "2.5 ± 0.7", "2"],
        ["cpu, 4 threads", "fusedmax", "5.0", "1"],
    ]


def test_findings_say_what_the_tables_say_and_no_more(tmp_path: Path) -> None:
    scores = {"softmax": 0.6, "fusedmax": 0.5, "sparsemax": 0.6}
    row = {}
    for mapping, score in scores.items():
        items = {"test": {"accuracy": [1] * round(4000 * score) + [0] * round(4000 * (1 - score))}}
        runs = []
        for run in seeds(mapping, dict.fromkeys(range(1, 7), score)):
            example = AttentionGrid(source=["a"], target=["b"], weights=[[1.0]], groups=[[1]])
            details = Details(id=run.id, items=items, example=example)
            runs.append(replace(run, details=write_details(tmp_path, details)))
        row[mapping] = runs
    tables = {"snli": [*recipes(row), *recipes(row, "snli_tuned")]}
    claims = claims_of_tier(PAPER, "small", tables, ItemScores(tmp_path))
    linked = [
        replace(
            RECORD,
            id=f"{gamma}",
            mapping_params={"gamma": gamma, "lam": 0.1},
            metrics={"hansards": {"aer": rate}},
        )
        for gamma, rate in ((4, 0.507), (1, 0.592))
    ] + [
        replace(
            RECORD, id="s", mapping="softmax", mapping_params={"gamma": 1}, metrics={"hansards": {"aer": 0.3}}
        )
    ]
    found = findings(claims, recipes_with_links("small", tables, linked), "small")
    assert list(found.values()) == ["claims-small-snli-fusedmax", "table-agreement-small"]
    said = list(found)
    begin = "Not reproduced: on entailment, fusedmax scores above softmax and sparsemax. "
    listed = r"-10\.00 \(95 % interval -1.*\), 6 seeds"
    whole = f"{begin}fusedmax minus softmax, test accuracy: {listed}; at strengths chosen on dev {listed}\\."
    assert re.fullmatch(whole, said[0])
    assert said[1].endswith(
        "better: γ = 1: 30.0 (softmax) to 59.2 (fusedmax), 1 seed; γ = 4: 50.7 (fusedmax), 1 seed."
    )
