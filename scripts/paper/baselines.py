"""Baselines of a corpus, as `make baselines` leaves them in results/baselines and tables read them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.data.files import read_whole
from tasks.training.records import RecordError

Scores = Mapping[str, Mapping[str, float]]
"""Test split → metric → figure, as records have them."""


@dataclass(frozen=True)
class Baselines:
    """What simple systems reach on a corpus, with the history of these figures.

    Attributes:
        task, tier: which table they belong to.
        corpus: ``name``, ``sha256`` and ``sizes`` per split.
        scores: baseline → its scores.
        signatures: how they were computed, as in records.
        commit, command, versions: of what computed them.
    """

    task: str
    tier: str
    corpus: Mapping[str, Any]
    scores: Mapping[str, Scores]
    signatures: Mapping[str, Mapping[str, str]]
    commit: str
    command: str
    versions: Mapping[str, str]


def read_baselines(folder: Path, task: str, tier: str, sha256: str) -> Baselines | None:
    """The baselines of a task at a tier on the corpus with that checksum; None where there are none.

    Raises:
        RecordError: a file there does not hold baselines.
    """
    for path in sorted(folder.glob("*.json")):
        try:
            found = Baselines(**json.loads(read_whole(path)))
            if (found.task, found.tier, found.corpus["sha256"]) == (task, tier, sha256):
                return found
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise RecordError(f"{path} must hold baselines, got {error!r}") from error
    return None
