"""Ask a trained entailment model: `make predict RUN=… PREMISE="…" HYPOTHESIS="…"`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch

from scripts import cli
from scripts.cli import UsageError
from scripts.runs.config import plain
from scripts.runs.setup import find_run_for, read_run_config
from scripts.style import check_drawing, draw_grid
from tasks.entailment.data import LABELS
from tasks.entailment.task import EntailmentPredictor, Prediction
from tasks.loading import load_trained

_MOST_CHARACTERS = 1_000  # the picture has a place for every word


def predict(arguments: Sequence[str]) -> None:
    """Print label, probabilities and attention, and save the picture beside the run's checkpoint."""
    if len(arguments) != 3 or not all(arguments):
        raise UsageError(
            f"RUN, PREMISE and HYPOTHESIS must be given, got {len([a for a in arguments if a])} of 3"
        )
    for name, text in zip(("PREMISE", "HYPOTHESIS"), arguments[1:], strict=True):
        _check_sentence(name, text)
    check_drawing()
    run = find_run_for("predict", arguments[0])
    predictor = load_trained(plain(read_run_config(run)), run, torch.device("cpu"))
    assert isinstance(predictor, EntailmentPredictor)
    _print(reading := predictor.predict(*arguments[1:]))
    words = dict.fromkeys(word for text in arguments[1:] for word in predictor.words(text))
    if unknown := [word for word in words if word not in predictor.vocabulary]:
        print(f"read as unknown, for the run has never seen them: {', '.join(unknown)}")
    mapping = predictor.model.attention.mapping.function.__name__
    picture = draw_grid(run.path / "prediction.png", reading.grid, mapping)
    print(f"picture {picture}")


def _check_sentence(name: str, text: str) -> None:
    if len(text) > _MOST_CHARACTERS:
        raise UsageError(f"{name} must have at most {_MOST_CHARACTERS:,} characters, got {len(text):,}")
    if any("\ud800" <= character <= "\udfff" for character in text):  # what argv makes of other bytes
        raise UsageError(f"{name} must be UTF-8, got {text!r}")


def _print(reading: Prediction) -> None:
    print(reading.label)
    print("  ".join(f"{label} {p:.4f}" for label, p in zip(LABELS, reading.probabilities, strict=True)))
    grid = reading.grid
    width = max(map(len, grid.source))
    for target, weights, groups in zip(grid.target, grid.weights, grid.groups, strict=True):
        if len(grid.target) > 1:
            print(target)
        for word, weight, group in zip(grid.source, weights, groups, strict=True):
            tied = f"  group {group}" if group and groups.count(group) > 1 else ""
            print(f"  {word:<{width}}  {weight:.4f}  {'█' * round(40 * weight)}{tied}".rstrip())


if __name__ == "__main__":
    cli.main(lambda: predict(sys.argv[1:]))
