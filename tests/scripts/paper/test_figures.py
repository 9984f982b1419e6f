"""The paper's figures: drawn from the library and from the details of runs, the same bytes every time."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scripts.figures import draw_attention, draw_mappings, panels, shown_lines
from tasks.attention import AttentionGrid
from tasks.training.details import Details, Example, write_details
from tasks.training.records import Record
from tests.example_record import RECORD

WORDS = ("one", "two", "three")


def run(folder: Path, mapping: str, seed: int, **changes: object) -> Record:
    weights = torch.tensor([[0.5, 0.5, 0.0]]) if mapping == "fusedmax" else torch.tensor([[0.6, 0.3, 0.1]])
    grid = AttentionGrid(WORDS, (f"seed {seed}",), weights, (weights > 0).long())
    details = Details(id=f"{mapping}-{seed}", items={}, example=Example.of(grid))
    record = replace(RECORD, id=details.id, mapping=mapping, mapping_params={}, seed=seed, **changes)
    return replace(record, details=write_details(folder, details))


def test_a_panel_for_each_mapping_of_its_first_seed(tmp_path: Path) -> None:
    records = [run(tmp_path, mapping, seed) for mapping in ("fusedmax", "softmax") for seed in (2, 1)]
    found = panels([*records, replace(RECORD, mapping="sparsemax")], tmp_path)
    assert [(panel.title, panel.target) for panel in found] == [
        ("softmax", ("seed 1",)),
        ("fusedmax", ("seed 1",)),
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


def test_lines_are_recipes_with_attention_that_matters_if_there_are_any() -> None:
    def run(name: str, experiment: str, **task: str) -> Record:  # of whatever mapping
        return replace(RECORD, id=name, experiment=experiment, config={**RECORD.config, "task": task})

    names = {"a": "translation", "b": "translation_tuned", "u": "translation_uniform"}
    one = [run(name, f"small/{recipe}") for name, recipe in names.items()]
    found = shown_lines([one, [run("t", "")]])
    assert [[r.id for r in runs] for runs in found] == [["a"], ["b"]]
    entailment = [[run("r", "small/snli")], [run("d", "small/snli_decomposable", model="decomposable")]]
    assert [[r.id for r in runs] for runs in shown_lines(entailment)] == [["d"]]
    assert [[r.id for r in runs] for runs in shown_lines([[run("t", "")]])] == [["t"]]
