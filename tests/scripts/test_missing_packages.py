"""What a command imports at its end is missed at its beginning, in one sentence."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scripts import cli
from scripts.generate import generate
from scripts.predict import predict
from scripts.reproduce import reproduce
from scripts.train import main as train
from tasks.data.reader import quiet_library
from tasks.data.tokenizers import moses_rules
from tests.scripts.bad_inputs import Capture, refused, training

GENERATING = ["translate", "nothing", "--attention"]


@pytest.mark.parametrize(
    ("command", "package"),
    [
        (lambda: train(training("snli")), "matplotlib"),
        (lambda: predict(["nothing", "a dog", "a cat"]), "matplotlib"),
        (lambda: generate([*GENERATING, "a.png"]), "matplotlib"),
        (lambda: reproduce(["--table", "snli"]), "matplotlib"),
        (lambda: train([*training("translation"), "task=gigaword", "data=gigaword/mini"]), "rouge_score"),
        (lambda: quiet_library().__enter__(), "datasets"),
        (lambda: moses_rules.__wrapped__("de"), "sacremoses"),  # what is cached was there
    ],
    ids=["train", "predict", "generate", "reproduce", "rouge", "table", "moses"],
)
def test_a_missing_package_is_missed_at_once(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, command: object, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    said = refused(command, capsys)  # type: ignore[arg-type]
    assert said.endswith(f"must have the package {package}, got none: pip install {package}\n")


def test_only_a_picture_wants_what_draws_it(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "RUN must name one run" in refused(lambda: generate([*GENERATING, "a.json"]), capsys)


@pytest.mark.parametrize("logger", ["tensorboard", "wandb"])
def test_a_missing_logger_is_missed_before_the_first_step(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, logger: str
) -> None:
    monkeypatch.setitem(sys.modules, logger, None)
    with pytest.raises(SystemExit) as stop:
        train([*training("snli"), f"logger={logger}"])
    assert stop.value.code == cli.WRONG_INPUT
    assert f"logger={logger} must have the package {logger}, got none" in capsys.readouterr().err
    assert not list(folder.rglob("*.ckpt"))
