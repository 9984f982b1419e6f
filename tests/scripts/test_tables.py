"""A table holds runs of one corpus and one tier, and says how many seeds stand behind a figure."""

from dataclasses import replace

import pytest

from scripts.tables import table, tables
from tasks.training.records import Record

CONFIG = {
    "task": {"train_vectors": False, "hidden_size": 8, "batch_size": 4, "dropout": 0.1},
    "optim": {"lr": 0.001, "weight_decay": 0.0},
    "trainer": {"epochs": 2},
}
RECORD = Record(
    id="a",
    task="snli",
    mapping="fusedmax",
    mapping_params={"gamma": 1.0, "lam": 0.1},
    tier="small",
    corpus={"name": "snli", "sha256": "1" * 64, "sizes": {"train": 3, "dev": 2, "test": 1}},
    seed=1,
    metrics={"dev": {"accuracy": 0.5}, "test": {"accuracy": 0.6}},
    seconds={"total": 9.0, "per_epoch": 2.0, "mapping_share": 0.01},
    epochs=2,
    best_epoch=1,
    tokens_per_second=1.0,
    peak_memory_mb=1.0,
    threads=1,
    device="cpu",
    versions={},
    commit="c",
    config=CONFIG,
    command="make train",
)


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
    text = tables([RECORD, other])
    assert text.count("## snli on") == 2
    assert "1, 1" not in text


def test_other_settings_never_share_a_row() -> None:
    other = replace(RECORD, config={**CONFIG, "optim": {"lr": 0.1, "weight_decay": 0.0}})
    assert tables([RECORD, other]).count("### frozen vectors") == 2
    stronger = replace(RECORD, mapping_params={"gamma": 1.0, "lam": 0.5})
    assert len(table([RECORD, stronger]).split("\n")) == 4
