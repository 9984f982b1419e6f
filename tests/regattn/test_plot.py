"""The library's picture of attention; cells and boxes are tested beside the suite's pictures."""

from __future__ import annotations

import sys

import pytest
import torch

import regattn

pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'regattn[plot]'")

WEIGHTS = torch.tensor([[0.0, 0.25, 0.25, 0.5], [1.0, 0.0, 0.0, 0.0]])
GROUPS = torch.tensor([[0, 1, 1, 2], [1, 0, 0, 0]])
WORDS = ["an extraordinarily long word", "b", "c", "$d$"]


def test_everything_is_inside_the_figure(tmp_path):
    figure = regattn.plot(
        WEIGHTS, WORDS, ["long", "longer word"], groups=GROUPS, title="a title wider than it all"
    )
    figure.savefig(tmp_path / "a.png")
    whole, inside = figure.bbox, figure.get_tightbbox().padded(-0.01)  # inches
    assert 0 <= inside.x0 < inside.x1 <= whole.width / figure.dpi
    assert 0 <= inside.y0 < inside.y1 <= whole.height / figure.dpi
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == WORDS
    assert [text.get_text() for text in axes.texts] == [".25", ".25", ".50", "1"]
    assert len(axes.patches) == 1  # the box round the one merged group


def test_tensors_as_models_return_them():
    weights = WEIGHTS[0].bfloat16().requires_grad_()
    figure = regattn.plot(weights, WORDS, groups=GROUPS[0])
    assert figure.axes[0].get_ylim() == (1, 0) and len(figure.axes[0].patches) == 1
    with pytest.raises(ValueError, match=r"groups must be integers of shape \(1, 4\), got float32"):
        regattn.plot(weights, WORDS, groups=GROUPS[0].float())
    with pytest.raises(ValueError, match=r"weights must have shape \(1, 4\)"):
        regattn.plot(weights[:3], WORDS)


def test_lists_as_json_holds_them():
    figures = [
        regattn.plot(weights, WORDS, groups=groups)
        for weights, groups in ((WEIGHTS, GROUPS), (WEIGHTS.tolist(), GROUPS.tolist()))
    ]
    assert figures[0]._repr_png_() == figures[1]._repr_png_()


def test_without_matplotlib_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "regattn._heatmap", None)
    with pytest.raises(ImportError, match=r"pip install 'regattn\[plot\]'"):
        regattn.plot(WEIGHTS, WORDS)


def test_a_notebook_shows_it_without_being_told_to():
    picture = regattn.plot(WEIGHTS, WORDS)._repr_png_()
    assert picture.startswith(b"\x89PNG") and len(picture) > 1000
