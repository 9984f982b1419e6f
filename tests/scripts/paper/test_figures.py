"""The paper's figures: drawn from the library and from the details of runs, the same bytes every time."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.figures import draw_attention, draw_mappings, panel_rows, runs_to_show
from scripts.paper.selection import example_rows
from tasks.attention import AttentionGrid
from tasks.training.records import Details, Record, write_details
from tests.example_record import RECORD

WORDS = ("one", "two", "three")


def run(folder: Path, mapping: str, seed: int, **changes: Any) -> Record:
    weights = torch.tensor([[0.5, 0.5, 0.0]]) if mapping == "fusedmax" else torch.tensor([[0.6, 0.3, 0.1]])
    grid = AttentionGrid.of(WORDS, (f"seed {seed}",), weights, (weights > 0).long())
    details = Details(id=f"{mapping}-{seed}", items={}, example=grid.rounded(3))
    changes = {"mapping_params": {}, "experiment": "small/snli", **changes}
    record = replace(RECORD, id=details.id, mapping=mapping, seed=seed, **changes)
    return replace(record, details=write_details(folder, details))


def test_a_panel_for_each_mapping_of_its_first_seed(tmp_path: Path) -> None:
    records = [run(tmp_path, mapping, seed) for mapping in ("fusedmax", "softmax") for seed in (2, 1)]
    (found,) = panel_rows([*records, replace(RECORD, mapping="sparsemax")], tmp_path)
    assert [(panel.title, panel.target) for panel in found] == [
        ("softmax", ["seed 1"]),
        ("fusedmax", ["seed 1"]),
    ]
    tried = run(tmp_path, "fusedmax", 3, experiment="", mapping_params={"gamma": 4.0, "lam": 0.1})
    assert panel_rows([tried], tmp_path)[0][0].title == "fusedmax, γ 4, λ 0.1"


def test_a_mapping_stands_once_in_a_row_and_recipes_in_rows_of_their_own(tmp_path: Path) -> None:
    recipes = {1.0: "small/t", 4.0: "small/t", 16.0: "small/t_tuned", 1e6: "small/t_uniform"}
    records = [
        run(tmp_path, mapping, seed, experiment=experiment, mapping_params={"gamma": gamma})
        for seed, (gamma, experiment) in enumerate(recipes.items())
        for mapping in ("softmax", "fusedmax")
    ]
    rows = example_rows(records, tmp_path)
    assert [[(run.mapping, run.mapping_params["gamma"]) for run, _ in row] for row in rows] == [
        [("softmax", gamma), ("fusedmax", gamma)] for gamma in (1.0, 4.0, 16.0)
    ]


def test_a_run_at_chosen_strengths_stands_in_the_row_of_these_too(tmp_path: Path) -> None:
    strengths = {"t": [("softmax", 1.0), ("fusedmax", 1.0)], "t_tuned": [("fusedmax", 4.0)]}
    records = [
        run(tmp_path, mapping, seed, experiment=f"small/{recipe}", mapping_params={"gamma": gamma})
        for recipe, settings in strengths.items()
        for seed, (mapping, gamma) in enumerate(settings, 1 if recipe == "t" else 3)
    ]
    chosen = {"t": {"softmax": {"gamma": 1.0}, "fusedmax": {"gamma": 4.0}}}
    rows = panel_rows(records, tmp_path, chosen)
    assert [[panel.title for panel in row] for row in rows] == [
        ["softmax, γ 1", "fusedmax, γ 1"],
        ["softmax, γ 1", "fusedmax, γ 4"],
    ]


def test_a_picture_for_each_corpus_and_tier_with_details(tmp_path: Path) -> None:
    records = [run(tmp_path, "fusedmax", 1), run(tmp_path, "softmax", 2, tier="mini"), RECORD]
    drawn = list(draw_attention(records, tmp_path, tmp_path / "figures"))
    assert sorted(path.name for path in drawn) == [
        f"figure2-snli-snli-{tier}{ending}" for tier in ("mini", "small") for ending in (".pdf", ".png")
    ]
    assert all(path.stat().st_size > 1000 for path in drawn)


@pytest.mark.parametrize("ending", [".png", ".pdf"])
def test_figure_1_is_the_same_every_time(tmp_path: Path, ending: str) -> None:
    for name in ("a", "b"):
        draw_mappings(tmp_path / f"{name}{ending}")
    assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()


def test_trials_are_not_shown_beside_recipes_nor_attention_that_does_not_matter() -> None:
    def run(name: str, experiment: str, **task: str) -> Record:  # of whatever mapping
        return replace(RECORD, id=name, experiment=experiment, config={**RECORD.config, "task": task})

    trial, recipe = run("t", ""), run("a", "small/translation")
    entailment = [run("r", "small/snli"), run("d", "small/snli_decomposable", model="decomposable")]
    for records, names in (([recipe, trial], "a"), (entailment, "d"), ([trial], "t")):
        assert [record.id for record in runs_to_show(records)] == [names]
