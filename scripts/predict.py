"""Ask a trained entailment model: `make predict RUN=… PREMISE="…" HYPOTHESIS="…"`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from hydra.utils import instantiate

from scripts import cli
from scripts.cli import UsageError
from scripts.runs.stored import find_run_for, read_run_config, read_stored
from scripts.style import check_drawing
from tasks.data.normalize import tokenize
from tasks.data.vocabulary import Vocabulary
from tasks.entailment.data import LABELS, Pair
from tasks.entailment.task import MODELS, Prediction, predict_pair
from tasks.training.state import best_weights, load_weights

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
    config = read_run_config(run)
    vocabulary = read_stored(run.vocabulary, Vocabulary.from_json)
    weights = best_weights(run.checkpoint, vocabulary.sha256)
    mapping = instantiate(config.attention)
    kind = MODELS[config.task.get("model", "recurrent")]
    model = kind(weights["vectors.weight"], mapping, hidden_size=config.task.hidden_size)
    load_weights(model, weights, run.checkpoint)

    premise, hypothesis = (
        tuple(tokenize(text, lowercase=config.data.get("lowercase", True))) for text in arguments[1:]
    )
    if not premise or not hypothesis:
        raise UsageError("PREMISE and HYPOTHESIS must have at least one word each, got none")
    pair = Pair(premise, hypothesis, label=0)
    _print(reading := predict_pair(model, pair, vocabulary))
    words = dict.fromkeys((*premise, *hypothesis))
    if unknown := [word for word in words if word not in vocabulary]:
        print(f"read as unknown, for the run has never seen them: {', '.join(unknown)}")
    from scripts.heatmap import draw_grid  # and matplotlib, after all that can be refused

    picture = draw_grid(run.path / "prediction.png", reading.grid, mapping.function.__name__)
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
    for target, weights, groups in zip(grid.target, grid.weights.tolist(), grid.groups.tolist(), strict=True):
        if len(grid.target) > 1:
            print(target)
        for word, weight, group in zip(grid.source, weights, groups, strict=True):
            tied = f"  group {group}" if group and groups.count(group) > 1 else ""
            print(f"  {word:<{width}}  {weight:.4f}  {'█' * round(40 * weight)}{tied}".rstrip())


if __name__ == "__main__":
    cli.main(lambda: predict(sys.argv[1:]))
