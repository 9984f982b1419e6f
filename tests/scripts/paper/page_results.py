"""A small results/ for tests of the report: runs with details whose attention the library computed."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

import regattn
from scripts.paper.selection import MAPPINGS
from scripts.runs.config import compose_config, missing_keys, plain
from tasks.attention import AttentionGrid
from tasks.training.records import Details, Record, write_details, write_record
from tests.example_record import RECORD

STRENGTHS = {"fusedmax": {"gamma": 1.0, "lam": 0.1}, "oscarmax": {"gamma": 1.0, "lam": 0.05}}
STRENGTHS |= {"pnormmax": {"gamma": 1.0, "p": 1.5}}
WORDS = ("a", "<dog>", "runs", "&", "sleeps")
SCORES = torch.tensor([[0.2, 1.4, 1.3, -1.0, 1.38]], dtype=torch.float64)


def attention(mapping: str) -> AttentionGrid:
    """Attention over five words."""
    function, strengths = getattr(regattn, mapping), STRENGTHS.get(mapping, {"gamma": 1.0})
    weights, groups = function(SCORES, **strengths), regattn.groups(SCORES, function, **strengths)
    return AttentionGrid.of(WORDS, ["?"], weights, groups).rounded(3)


@cache
def config_of(mapping: str, tier: str) -> dict[str, Any]:
    """The config of the experiment that makes the cell's runs, so that these are its."""
    config = compose_config([f"experiment={tier}/snli", f"attention={mapping}"])
    for key in missing_keys(config):
        OmegaConf.update(config, key, "")
    return plain(config)


def run(mapping: str, seed: int, tier: str, folder: Path, **changes: object) -> Record:
    """Write the record and the details of a run."""
    name = f"snli-{mapping}-{tier}-s{seed}"
    accuracy = 0.5 + 0.01 * MAPPINGS.index(mapping) + 0.002 * seed
    record = replace(
        RECORD,
        id=name,
        mapping=mapping,
        mapping_params=STRENGTHS.get(mapping, {"gamma": 1.0}),
        tier=tier,
        experiment=f"{tier}/snli",
        seed=seed,
        corpus={
            "name": f"corpus_{tier}",
            "sha256": tier[0] * 64,
            "sizes": {"train": 3000, "dev": 20, "test": 4},
        },
        metrics={"dev": {"accuracy": accuracy}, "test": {"accuracy": accuracy, "zero_share": 0.25}},
        config=config_of(mapping, tier),
        history=[
            {"epoch": n, "step": n, "loss": 1.0, "seconds": 2.0, "dev": {"accuracy": accuracy - 0.1 / n}}
            for n in (1, 2)
        ],
        command=f"make train ATTN={mapping} ARGS='seed={seed}' # <script>",
    )
    items = {"test": {"accuracy": [1, 0, seed % 2, 1]}}
    details = Details(id=name, items=items, example=attention(mapping))
    record = replace(record, details=write_details(folder / "details", details), **changes)
    write_record(folder / "runs", record)
    return record


def results(folder: Path) -> list[Record]:
    """Two seeds of every mapping in small, one in mini, as read back: by id."""
    runs = [run(mapping, seed, "small", folder) for mapping in MAPPINGS for seed in (1, 2)]
    runs += [run(mapping, 1, "mini", folder) for mapping in MAPPINGS]
    return sorted(runs, key=lambda record: record.id)
