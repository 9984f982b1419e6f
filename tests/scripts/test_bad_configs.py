"""Every bad key, type and value of a config, and what a machine may lack, through the commands themselves."""

from __future__ import annotations

import json
import re
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import InstantiationException
from omegaconf import DictConfig, FloatNode, IntegerNode, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from scripts import cli
from scripts.runs.config import read_config
from scripts.runs.setup import set_up
from scripts.train import main as train
from tests.scripts.bad_inputs import Capture, refused, training

CONFIG_FAULTS = {
    "typo": (["trainer.epoch=3"], r"trainer\.epoch is no key: .*; did you mean epochs\?"),
    "typo with +": (["+sede=3"], r"sede is no key: .*; did you mean seed\?"),
    "type": (["trainer.epochs=many"], r"trainer\.epochs: value 'many' of type 'str' could not be converted"),
    "no mapping": (
        ["attention=fusemax"],
        r"attention must be one of .*, got 'fusemax'; did you mean fusedmax\?",
    ),
    "no experiment": (
        ["experiment=small/snly"],
        r"experiment/small must be one of .*, got 'snly'; did you mean snli\?",
    ),
    "no tier": (
        ["experiment=large/snli"],
        r"experiment must be one of mini/gigaword, .*, got 'large/snli'; did you mean paper/snli\?",
    ),
    "corpus of another task": (["task=gigaword"], r"data must be a corpus of gigaword, got snli/mini"),
    "experiment of another task": (
        ["experiment=small/translation"],
        r"experiment=small/translation must go with TASK=translation, got snli",
    ),
    "strength of a mapping": (
        ["attention=fusedmax", "attention.lambda=0.1"],
        r"attention\.lambda is no key: attention has gamma, lam, .*; did you mean lam\?",
    ),
    "annealed and learnt": (
        ["attention.learn=[gamma]", "trainer.anneal_gamma=4"],
        r"gamma must be a number where anneal_gamma is not null, got one that is learnt",
    ),
    "key of a corpus": (
        ["data=snli/folder", "data.root=x", "data.train=9"],
        r"data\.train is no key: data has .*test_files, train_files; did you mean train_files\?",
    ),
    "added key": (
        ["optim=sgd", "+optim.decay_at=3"],
        r"optim\.decay_at is no key: optim has .*, start_decay_at; did you mean decay\?",
    ),
    "one of two": (["debug=[tiny,tinier]"], r"debug must be one of tiny, got 'tinier'"),
    "mapping outside": (
        ["attention=../../fusedmax"],
        r"attention must name a file inside configs/attention, got '\.\./\.\./fusedmax'",
    ),
    "target": (["attention._target_=os.mkdir"], r"attention\._target_ must be one of .*, got 'os\.mkdir'"),
    "taken away": (["~seed"], r"an override must be key=value, got '~seed': no key can be taken away"),
    "several values": (["seed=1,2"], r"Ambiguous value .*: a list is written \[1,2\], and make sweep trains"),
    "no pair": (["seed"], r"an override must be key=value, got 'seed'"),
    "no such value": (["tier='${nothing}'"], r"'nothing' not found"),
    "too large": (["task.hidden_size=1000000000000"], r"the model must fit into memory, got: .*allocate"),
    "too many": (["data.train=3000000000"], r"train, dev, test of a synthetic corpus must be at most 1,000,"),
    "seed": (["seed=-1"], r"seed must be an integer of at least 0 and below .*, got -1"),
    "no run to resume": (
        ["resume", "nothing"],
        r"RUN must name one run in runs/, got 'nothing', which fits none",
    ),
    "run outside": (["resume", "../file"], r"RUN must name one run in runs/, got '\.\./file'"),
    "absolute run": (["resume", "/nothing"], r"RUN must name one run in runs/, got '/nothing'"),
    "run as pattern": (["resume", "**"], r"RUN must name one run in runs/, got '\*\*'"),
}
ENVIRONMENT_FAULTS = {
    "no such file system": (
        ["output_dir=file/runs"],
        r"output_dir must be a folder that can be written, got file",
    ),
    "results": (["results_dir=file"], r"results_dir must be a folder that can be written, got file"),
    "no hub": (
        ["data=snli/snli"],
        r"must come from the hub, got no connection .*: pass a folder with its files instead",
    ),
    "no GPU": (["trainer.device=cuda"], r"device must be cpu or auto where .*, got cuda"),
}


@pytest.mark.measures("bad config")
@pytest.mark.parametrize("fault", CONFIG_FAULTS)
def test_a_config_that_cannot_be_is_refused(folder: Path, capsys: Capture, fault: str) -> None:
    overrides, sentence = CONFIG_FAULTS[fault]
    (folder / "file").write_text("no folder")
    started = overrides if overrides[0] == "resume" else [*training("snli"), *overrides]
    assert re.search(sentence, refused(lambda: train(started), capsys))


WEIGHTS = "a model must have at most 1,000,000,000 weights, got "


@pytest.mark.measures("bad config")
@pytest.mark.parametrize(
    ("task", "overrides", "sentence"),
    [
        ("translation", ["task.model.layers=1000000"], "at most 10,000 tensors of weights, got more"),
        ("translation", ["task.model.hidden_size=30000", "task.model.embedding_size=30000"], WEIGHTS),
        ("snli", ["task.hidden_size=20000"], WEIGHTS),
        ("snli", ["task.vector_size=1000000000"], WEIGHTS),
    ],
)
def test_a_model_that_is_too_large_is_refused_before_it_is_built(
    folder: Path, capsys: Capture, task: str, overrides: list[str], sentence: str
) -> None:
    assert sentence in refused(lambda: train([*training(task), *overrides]), capsys)


@pytest.mark.measures("bad environment")
@pytest.mark.parametrize("fault", ENVIRONMENT_FAULTS)
def test_what_the_machine_has_not_is_said(folder: Path, capsys: Capture, fault: str) -> None:
    if fault == "no GPU" and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    overrides, sentence = ENVIRONMENT_FAULTS[fault]
    (folder / "file").write_text("no folder")
    small = [] if overrides == ["data=snli/snli"] else training("snli")
    assert re.search(sentence, refused(lambda: train([*small, "task=snli", *overrides]), capsys))


def numbers(node: DictConfig, place: str = "") -> Iterator[str]:
    """Dotted names of all numbers in a config."""
    for key in node:
        below = node._get_node(key)
        if isinstance(below, DictConfig) and not below._is_none():
            yield from numbers(below, f"{place}{key}.")
        elif isinstance(below, IntegerNode | FloatNode):
            yield f"{place}{key}"


NOWHERE = "data.root=nowhere"
CHOICES = {
    "snli": ["task=snli", "attention=fusedmax", "data=snli/folder", NOWHERE],
    "translation": [
        "task=translation",
        "attention=pnormmax",
        "optim=adamw",
        "data=translation/folder",
        NOWHERE,
    ],
    "gigaword": ["task=gigaword", "attention=oscarmax", "optim=sgd", "data=gigaword/folder", NOWHERE],
    "mini": ["task=snli", "data=snli/mini"],
}
EXPECTED = {
    "snli": {"seed", "trainer.epochs", "trainer.clip_norm", "optim.lr", "attention.lam", "data.limit"},
    "translation": {"task.search.beam_size", "optim.weight_decay", "attention.p", "data.max_chars"},
    "gigaword": {"optim.lr", "attention.gamma", "data.limit"},
    "mini": {"data.train", "data.dev", "data.test", "data.seed"},
}
ELSEWHERE: dict[str, tuple[str, ...]] = {
    "snli": (),
    "translation": ("trainer.", "seed"),
    "gigaword": ("trainer.", "seed", "task."),  # the classes of translation
    "mini": ("trainer.", "seed", "task."),
}
NO_NUMBERS = ("nan", "inf", "1e400", "-1", "true", "''")
MAY_BE_0 = re.compile(r".*(seed|dropout|lam|penalty|smoothing|decay|warmup_steps|min_length|no_repeat_ngram)")


@pytest.mark.measures("bad config")
@pytest.mark.parametrize("name", CHOICES)
def test_no_number_may_be_negative_or_not_finite(name: str) -> None:
    """Refused before any file is looked for, as the command line writes it: there is no corpus."""
    config = read_config(CHOICES[name])
    found = {key for key in numbers(config) if not key.startswith(ELSEWHERE[name])}
    assert found >= EXPECTED[name]
    parser, accepted = OverridesParser.create(), []
    for key in sorted(found):
        for text in (*NO_NUMBERS, *([] if MAY_BE_0.fullmatch(key) else ["0"])):
            if (key, text) == ("data.seed", "-1"):
                continue  # any integer
            with pytest.raises((ValueError, OmegaConfBaseException, InstantiationException)) as error:
                changed = config.copy()
                OmegaConf.update(changed, key, parser.parse_override(f"{key}={text}").value())
                set_up(changed)
            if "nowhere" in str(error.value.__cause__ or error.value):
                accepted.append((key, text))
    assert not accepted


# ------------------------------------------------------------------ environment
@pytest.mark.measures("bad environment")
@pytest.mark.parametrize("room", [1_000, 20_000])
def test_a_full_disk_loses_and_tears_nothing(folder: Path, capsys: Capture, room: int) -> None:
    """No file may grow beyond ``room`` bytes, which fails as a full disk does: in the middle of a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(SystemExit) as stop:
            train(training("snli"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert stop.value.code == cli.WRONG_INPUT
    assert re.search(r"error: (cannot save )?runs/.*: File too large\n", capsys.readouterr().err)
    assert not list(folder.rglob("*.tmp")) and not (folder / "results").exists()
    for file in folder.rglob("*.json"):
        json.loads(file.read_text())
    train(training("snli"))
    assert len(list((folder / "results/runs").iterdir())) == 1


@pytest.mark.measures("bad environment")
def test_an_output_folder_that_cannot_be_made_is_named(folder: Path, capsys: Capture) -> None:
    """Of /sys nothing can be made a folder, whoever one is."""
    said = refused(lambda: train([*training("snli"), "output_dir=/sys/regattn"]), capsys)
    assert "/sys/regattn" in said
