"""A number of a config may be of any size: a command refuses it at once, or is none the slower for it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hydra.errors import InstantiationException
from omegaconf import DictConfig, IntegerNode, OmegaConf

from scripts.runs.config import read_config
from scripts.runs.setup import set_up
from scripts.runs.training import train
from scripts.train import main as start
from tests.scripts.bad_inputs import Capture, refused, training
from tests.scripts.test_bad_configs import CHOICES, numbers

WEIGHTS = ("hidden_size", "embedding_size", "layers", "vector_size")
"""Bounded by what they come to together, as tests.scripts.test_bad_configs has it."""

HARMLESS = {
    "attention.gamma", "attention.lam", "data.limit", "data.max_chars", "optim.start_decay_at",
    "optim.warmup_steps", "task.batches.max_length", "task.search.no_repeat_ngram",
    "trainer.checkpoint_every", "trainer.clip_norm", "trainer.dev_items", "trainer.epochs",
    "trainer.max_steps", "trainer.patience", "trainer.test_items",
}  # fmt: skip
"""Accepted of any size: what they limit or wait for has an end of its own."""


def enlarge(config: DictConfig, key: str) -> None:
    section, _, last = key.rpartition(".")
    parent = OmegaConf.select(config, section) if section else config
    parent[last] = 10**12 if isinstance(parent._get_node(last), IntegerNode) else 1e300


@pytest.mark.measures("bad config")
@pytest.mark.parametrize("name", [name for name in CHOICES if name != "mini"])
def test_a_number_is_refused_or_known_to_be_harmless(name: str) -> None:
    """Before any file is looked for: there is no corpus."""
    config = read_config(CHOICES[name])
    accepted = set()
    for key in (key for key in numbers(config) if not key.endswith(WEIGHTS)):
        changed = config.copy()
        enlarge(changed, key)
        with pytest.raises((ValueError, OSError, InstantiationException)) as error:
            set_up(changed)
        if "nowhere" in str(error.value):
            accepted.add(key)
    assert accepted <= HARMLESS
    assert accepted >= {"attention.gamma", "data.limit", "trainer.epochs"}


@pytest.mark.measures("bad config")
def test_a_training_is_none_the_slower_for_what_is_harmless(folder: Path) -> None:
    config = read_config([*training("translation"), "trainer.max_steps=2"])
    enlarged = {key for key in numbers(config) if key in HARMLESS} - {"trainer.max_steps"}
    for key in enlarged:
        enlarge(config, key)
    train(set_up(config))
    assert len(enlarged) == 10 and len(list((folder / "results/runs").iterdir())) == 1


@pytest.mark.measures("bad config")
@pytest.mark.parametrize(
    ("task", "override", "sentence"),
    [
        (
            "translation",
            "task.search.beam_size",
            "beam_size must be an integer of at least 1 and at most 1,000",
        ),
        ("translation", "task.batches.pad_to_multiple", "pad_to_multiple must be .* at most 1,024"),
        ("snli", "task.batch_size", "batch_size must be an integer of at least 1 and at most 65,536"),
    ],
)
def test_a_typo_gets_one_sentence(
    folder: Path, capsys: Capture, task: str, override: str, sentence: str
) -> None:
    said = refused(lambda: start([*training(task), f"{override}=1000000000"]), capsys)
    assert re.search(f"{sentence}, got 1000000000$", said.rstrip())
