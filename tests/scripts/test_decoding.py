"""The speed of decoding is counted in the tokens that come out."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
import torch
from torch import nn

import regattn
from scripts.decoding import measure, table
from tasks.seq2seq.model import ModelSettings
from tasks.seq2seq.search import SearchSettings
from tasks.seq2seq.text import BatchSettings, TextSettings
from tasks.translation.mini import generate
from tasks.translation.task import build

SETTINGS = SearchSettings(beam_size=2, max_length=6)


class Slow(regattn.Softmax):
    def forward(self, scores: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        time.sleep(0.01)
        return super().forward(scores, mask)


@pytest.mark.parametrize("mapping", [regattn.Softmax(), Slow()], ids=lambda m: type(m).__name__)
def test_tokens_and_ends_are_counted_and_the_mapping_timed(mapping: nn.Module) -> None:
    task = build(
        generate(train=20, dev=2, test=9), mapping, 1, torch.device("cpu"),
        text=TextSettings(), model=ModelSettings(hidden_size=8, embedding_size=8),
        batches=BatchSettings(), search=SETTINGS,
    )  # fmt: skip
    texts = [example.source for example in task.corpus.splits["test"]]
    speed = measure(task.translator, texts, SETTINGS)
    outputs = [best[0] for best in task.translator.generate(texts, SETTINGS)]
    assert speed.tokens == sum(len(o.ids) + (len(o.ids) < 6) for o in outputs)
    assert 0 < speed.in_mapping < speed.seconds
    if isinstance(mapping, Slow):
        assert speed.mapping_share > 0.5
    assert not mapping._forward_hooks and not mapping._forward_pre_hooks
    assert replace(speed, seconds=2.0).tokens_per_second == speed.tokens / 2


def test_the_table_has_a_row_for_each_run() -> None:
    kind = {"tokens": 10, "tokens_per_second": 1234.5, "mapping_share": 0.0123}
    runs = {"a": {"mapping": "fusedmax", "greedy": kind, "beam 5": kind}}
    text = table({"sentences": 1000, "threads": 2}, runs)
    assert "| fusedmax | 1,234 | 1.2 % | 1,234 | 1.2 % |" in text
