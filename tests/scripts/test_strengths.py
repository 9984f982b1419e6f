"""Strengths are chosen by as many trials for each mapping, and a tuned recipe has what its study chose."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from scripts import tune
from scripts.cli import UsageError
from scripts.paper.studies import variants_study
from scripts.runs import config
from scripts.runs.config import CONFIGS, plain, read_config
from scripts.strengths import choose, main
from tasks.training.records import Record, write_record
from tests.example_record import RECORD

ROOT = CONFIGS.parent
STUDIES = sorted((ROOT / "results" / "studies").glob("*.json"))


def trial(mapping: str, gamma: float, accuracy: float, seed: int = 1, *more: str) -> Record:
    words = [f"attention={mapping}", f"attention.gamma={gamma}", f"seed={seed}", *more]
    values = plain(read_config(words))
    strengths = {name: values["attention"][name] for name in ("gamma", "lam") if name in values["attention"]}
    return replace(
        RECORD,
        id=f"{mapping}-{gamma}-{seed}",
        task="snli",
        mapping=mapping,
        mapping_params=strengths,
        seed=seed,
        config=values,
        metrics={"dev": {"accuracy": accuracy}, "test": {"accuracy": 1 - accuracy}},
    )


DEV = {
    ("softmax", 1): (0.5, 0.6),
    ("softmax", 4): (0.6, 0.4),
    ("fusedmax", 1): (0.5, 0.5),
    ("fusedmax", 4): (0.5, 0.6),
}


@pytest.fixture(scope="module")
def trials() -> list[Record]:
    """Of every setting of ``DEV``; their configs take a second to compose."""
    return [
        trial(*setting, accuracy, seed) for setting, of in DEV.items() for seed, accuracy in enumerate(of, 1)
    ]


def test_the_best_on_dev_over_seeds_is_chosen(trials: list[Record]) -> None:
    found = choose(trials)
    assert found["chosen"] == {"softmax": {"gamma": 1.0}, "fusedmax": {"gamma": 4.0, "lam": 0.025}}
    assert found["budget"] == {"epochs": trials[0].config["trainer"]["epochs"], "runs": 4}
    assert [t["dev"] for t in found["trials"]] == [0.5, 0.6, 0.6, 0.4, 0.5, 0.5, 0.5, 0.6]


def test_a_learnt_strength_is_a_setting_of_its_own(trials: list[Record]) -> None:
    learnt = [trial(name, 1, 0.9, 3, "attention.learn=[gamma]") for name in ("softmax", "fusedmax")]
    found = choose([*trials, *learnt])
    assert found["chosen"]["softmax"] == {"gamma": 1.0, "learn": ["gamma"]}


def test_a_variant_is_named_by_what_differs(tmp_path: Path) -> None:
    ways = ("trainer.anneal_gamma=16.0", "attention.learn=[gamma]")
    for study, trials in {
        "scale": [trial("softmax", 1, 0.5), trial("softmax", 4, 0.5)],
        "variants": [replace(trial("softmax", 1, 0.5, 1, way), id=way) for way in ways],
    }.items():
        for run in trials:
            write_record(tmp_path / "studies" / study / "runs", run)
    runs, variants = variants_study(tmp_path)
    assert [run.id for run in runs] == ["softmax-1-1", *sorted(ways)]
    assert variants == ["the recipe", *sorted(ways)]


def test_an_unequal_search_is_refused(trials: list[Record]) -> None:
    with pytest.raises(UsageError, match="as many trials as each other, got softmax 4, fusedmax 3"):
        choose(trials[:-1])
    other = trial("fusedmax", 4, 0.6, 2, "optim.lr=0.5")
    with pytest.raises(UsageError, match="alone, got 2 settings and 1 corpora in 8 records"):
        choose([*trials[:-1], other])


def test_what_is_chosen_becomes_a_set_of_strengths(
    trials: list[Record],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for run in [*trials, trial("softmax", 2, 0.9, 1, "optim.lr=0.5")]:
        write_record(tmp_path / "runs", run)
    configs = tmp_path / "configs"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "CONFIGS", configs)
    main(["--study", "mine", "--trials-in", str(tmp_path), f"optim.lr={trials[0].config['optim']['lr']}"])
    assert json.loads((tmp_path / "results/studies/mine.json").read_text()) == choose(trials)
    assert (configs / "strengths/mine/fusedmax.yaml").read_text() == "gamma: 4.0\nlam: 0.025\n"
    assert (configs / "strengths/mine.yaml").read_text().startswith("# @package _global_\n")
    assert "softmax gamma=1.0" in capsys.readouterr().out
    with pytest.raises(UsageError, match="TRIALS_IN must be a folder with such trials"):
        main(["--study", "mine", "--trials-in", str(tmp_path), "optim.lr=7"])


@pytest.mark.parametrize("name", ["", "..", "../a", "/a", "a/b"])
@pytest.mark.parametrize("command", [main, tune.main])
def test_a_study_has_the_name_of_a_file(command: Callable[[list[str]], None], name: str) -> None:
    with pytest.raises(UsageError, match=r"--study: must be a name without /, got '.*'"):
        command(["--study", name])


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_committed_strengths_are_those_of_their_study(study: Path) -> None:
    found = json.loads(study.read_text())
    for mapping, strengths in found["chosen"].items():
        assert (CONFIGS / "strengths" / study.stem / f"{mapping}.yaml").exists()
        attention = plain(read_config([f"attention={mapping}", f"strengths={study.stem}"]))["attention"]
        assert {name: attention[name] for name in strengths} == strengths
