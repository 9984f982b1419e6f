"""What the report's panel computes in the page is what the library computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import regattn

mini_racer = pytest.importorskip("py_mini_racer", reason="the page's JavaScript runs in py_mini_racer")
SOURCE = Path(__file__).resolve().parents[3] / "scripts" / "paper" / "web" / "mappings.js"
STRENGTHS = {
    "softmax": ({"gamma": 1.0}, {"gamma": 0.3}),
    "sparsemax": ({"gamma": 1.0}, {"gamma": 0.3}, {"gamma": 4.0}),
    "fusedmax": ({"gamma": 1.0, "lam": 0.1}, {"gamma": 0.4, "lam": 0.7}, {"gamma": 2.0, "lam": 0.0}),
    "oscarmax": ({"gamma": 1.0, "lam": 0.01}, {"gamma": 0.4, "lam": 0.2}, {"gamma": 2.0, "lam": 0.0}),
    "pnormmax": ({"gamma": 1.0, "p": 1.5}, {"gamma": 0.4, "p": 1.05}, {"gamma": 3.0, "p": 2.0}),
}
CASES = [(name, strengths) for name, many in STRENGTHS.items() for strengths in many]


@pytest.fixture(scope="module")
def engine() -> Any:
    """The page's functions, loaded."""
    context = mini_racer.MiniRacer()
    context.eval(SOURCE.read_text(encoding="utf-8"))
    return context


def answers(engine: Any, name: str, rows: list[Any], strengths: dict[str, float]) -> list[Any]:
    """Weights and groups of rows of scores and mask."""
    call = f"attend({json.dumps(name)}, x, {json.dumps(strengths)}, mask)"
    found = engine.eval(f"JSON.stringify({json.dumps(rows)}.map(([x, mask]) => {call}))")
    return list(json.loads(found))


def rows(kind: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Scores and masks of rows with up to nine positions."""
    found = []
    for number in range(150):
        d = 1 + number % 9
        scores = torch.randn(d, dtype=torch.float64) * (0.3, 1.0, 3.0)[number % 3]
        if kind == "ties":
            scores = (2 * scores).round() / 2
        mask = torch.rand(d) < 0.7 if kind == "masks" else torch.ones(d, dtype=torch.bool)
        found.append((scores, mask))
    return found


@pytest.mark.parametrize("kind", ["random", "ties", "masks"])
@pytest.mark.parametrize(("name", "strengths"), CASES)
def test_weights_are_the_librarys(engine: Any, name: str, strengths: dict[str, float], kind: str) -> None:
    given = rows(kind)
    found = answers(engine, name, [(x.tolist(), m.tolist()) for x, m in given], strengths)
    for (scores, mask), answer in zip(given, found, strict=True):
        wanted = getattr(regattn, name)(scores, mask=mask, **strengths)
        torch.testing.assert_close(
            torch.tensor(answer["weights"], dtype=torch.float64), wanted, rtol=0, atol=1e-9
        )


def partition(labels: list[int]) -> list[int]:
    """Groups told by where they begin, whatever their numbers; -1 outside."""
    return [labels.index(label) if label else -1 for label in labels]


@pytest.mark.parametrize("kind", ["random", "masks"])
@pytest.mark.parametrize(("name", "strengths"), CASES)
def test_groups_are_the_librarys(engine: Any, name: str, strengths: dict[str, float], kind: str) -> None:
    given = rows(kind)
    found = answers(engine, name, [(x.tolist(), m.tolist()) for x, m in given], strengths)
    for (scores, mask), answer in zip(given, found, strict=True):
        wanted = regattn.groups(scores, getattr(regattn, name), mask=mask, **strengths)
        assert partition(answer["groups"]) == partition(wanted.tolist())


def test_the_published_example_of_mixed_signs(engine: Any) -> None:
    (answer,) = answers(engine, "oscarmax", [([0.3, 0.1, -0.2], [True] * 3)], {"gamma": 1.0, "lam": 0.05})
    assert [round(weight, 3) for weight in answer["weights"]] == [0.517, 0.367, 0.117]
