"""The speed of decoding is counted in the tokens that come out."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import regattn
from scripts.bench import decoding
from scripts.bench.decoding import Speed, measure
from tasks.seq2seq.model import ModelSettings
from tasks.seq2seq.search import SearchSettings
from tasks.seq2seq.text import BatchSettings, TextSettings
from tasks.translation.mini import generate
from tasks.translation.task import build

SETTINGS = SearchSettings(beam_size=2, max_length=6)


class Clock:
    """Time that passes when it is read, and in a slow mapping."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


class Slow(regattn.Softmax):
    clock: Clock

    def forward(self, scores: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        self.clock.now += 1.0
        return super().forward(scores, mask)


@pytest.mark.parametrize("mapping", [regattn.Softmax(), Slow()], ids=lambda m: type(m).__name__)
def test_tokens_and_ends_are_counted_and_the_mapping_timed(
    mapping: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapping.clock = clock = Clock()  # type: ignore[assignment]
    monkeypatch.setattr(decoding, "time", SimpleNamespace(perf_counter=clock))
    task = build(
        generate(train=20, dev=2, test=9), mapping, 1, torch.device("cpu"),
        text=TextSettings(), model=ModelSettings(hidden_size=8, embedding_size=8),
        batches=BatchSettings(), search=SETTINGS,
    )  # fmt: skip
    texts = [example.source for example in task.corpus.splits["test"]]
    speed = measure(task.translator, texts, SETTINGS)
    seconds = clock.now - 0.001  # begun at the first reading
    outputs = [best[0] for best in task.translator.generate(texts, SETTINGS)]
    assert speed.tokens == sum(len(o.ids) + (len(o.ids) < 6) for o in outputs)
    # Each call takes one reading of the clock of two, and a second where it is slow.
    assert speed.mapping_share == pytest.approx(0.999 if isinstance(mapping, Slow) else 0.5, abs=0.05)
    assert speed.tokens_per_second == pytest.approx(speed.tokens / seconds)
    assert not mapping._forward_hooks and not mapping._forward_pre_hooks


def test_results_are_medians_of_passes_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    order = []

    def measure(translator: Any, texts: list[str], settings: SearchSettings) -> Speed:
        order.append((translator.name, settings.beam_size))
        return Speed(10, 100.0 + len(order), 0.01 * len(order))

    monkeypatch.setattr(decoding, "measure", measure)
    translators = {
        name: SimpleNamespace(name=name, settings=SETTINGS, mapping=regattn.Softmax()) for name in "ab"
    }
    results = decoding.measure_interleaved(translators, ["one", "two"])  # type: ignore[arg-type]
    assert order == [("a", 1), ("b", 1), *3 * [("a", 1), ("a", 5), ("b", 1), ("b", 5)]]
    assert results["a"] == {
        "mapping": "softmax",
        "greedy": {"tokens": 10, "tokens_per_second": 107.0, "mapping_share": 0.07},
        "beam 5": {"tokens": 10, "tokens_per_second": 108.0, "mapping_share": 0.08},
    }


def test_committed_table_is_that_of_the_committed_results() -> None:
    path = Path(__file__).resolve().parents[2] / "results/bench/decoding.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    assert decoding.table(found["history"], found["runs"]) == path.with_suffix(".md").read_text(
        encoding="utf-8"
    )
