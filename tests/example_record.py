"""The record of a run, as small as one can be."""

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
