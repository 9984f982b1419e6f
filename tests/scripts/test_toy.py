"""A mapping and a task that the registries alone know are trained, recorded and shown like all others."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import regattn
from scripts import figures, report, tables
from scripts.runs import config
from scripts.train import main as train
from tests import toy
from tests.regattn import test_contract as contract

OVERRIDES = ["task=toy", "data=toy/mini", "trainer.threads=1", "progress=false"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder, while both are registered and have their files in a copy of configs/."""
    configs = shutil.copytree(config.CONFIGS, tmp_path / "configs")
    for name, text in toy.CONFIGS.items():
        file = configs / f"{name}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "CONFIGS", configs)
    with toy.registered():
        yield tmp_path


def test_all_mappings_promise_holds_of_a_toy() -> None:
    with toy.registered():
        for promise in (
            contract.test_mask_broadcasts_and_minus_infinity_is_a_mask,
            contract.test_row_without_anything_left_is_zero_with_zero_gradient,
            contract.test_invalid_row_is_nan_and_its_neighbours_untouched,
            contract.test_extreme_scores,
            contract.test_gradient_through_views,
            contract.test_no_rows_is_fine_and_no_columns_an_error,
            contract.test_refuses_bad_masks,
            contract.test_refuses_strengths_that_are_no_numbers,
        ):
            promise(toy.halfmax)
        contract.test_refuses_bad_strengths(toy.HALFMAX)
        contract.test_module_is_its_function(toy.Halfmax(gamma=0.7))
        contract.test_module_survives_copies_and_pickling(toy.Halfmax(gamma=0.7))
        scores = torch.randn(20, 6, dtype=torch.float64)
        assert regattn.certify(scores, toy.halfmax(scores), toy.halfmax).max() < 1e-14
        assert regattn.certify(scores, regattn.sparsemax(scores), toy.halfmax).max() > 1e-3


def test_a_toy_is_trained_recorded_and_shown(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train([*OVERRIDES, "attention=halfmax"])
    (file,) = (folder / "results/runs").glob("*.json")
    record = json.loads(file.read_text())
    assert (record["task"], record["mapping"], record["mapping_params"]) == ("toy", "halfmax", {"gamma": 2.0})
    assert record["corpus"]["sizes"] == {"train": 48, "dev": 24, "test": 24}
    assert set(record["metrics"]) == {"dev", "test"} and len(record["history"]) == 3
    train([*OVERRIDES, "attention=softmax"])
    monkeypatch.setattr(tables, "fill", lambda page, parts: None)
    tables.main()
    runs = {row["mapping"]: row for row in csv.DictReader((folder / "results/tables/toy.csv").open())}
    assert sorted(runs) == ["halfmax (gamma 2)", "softmax (gamma 1)"]
    assert float(runs["halfmax (gamma 2)"]["test accuracy"]) == record["metrics"]["test"]["accuracy"]
    figures.main([])
    assert (folder / "results/figures/figure4-toy-marks-mini.png").exists()
    report.main([])
    page = (folder / "results/report/index.html").read_text()
    assert record["id"] in page and "halfmax" in page
