"""A run made into an export, and what loads it: the library and the tasks, no script, no Hydra, no corpus."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.export import export, model_card
from scripts.predict import predict
from scripts.train import main as train
from tasks.loading import from_run
from tasks.training.checkpoint import CheckpointError
from tasks.training.records import read_records
from tasks.training.state import ResumeError
from tests.scripts.bad_inputs import Capture, refused, training

ROOT = Path(__file__).resolve().parents[2]
PAIR = ("The old nurse sits", "the nurse is resting")
TEXTS = ["der hund schläft", "", "die alte frau hat den könig gesehen"]
ELSEWHERE = """
import json, sys
for name in {without!r}:
    sys.modules[name] = None
from tasks.loading import from_run
predictor, translator = map(from_run, sys.argv[1:])
found = predictor.predict(*{pair!r})
outputs = translator.generate({texts!r})
print(json.dumps([found.label, found.probabilities, [[best[0].text, best[0].score] for best in outputs]]))
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished and exported run of each kind, by task."""
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for task, attention in (("snli", "oscarmax"), ("translation", "fusedmax")):
            train([*training(task), f"attention={attention}"])
            (run,) = (folder / "runs").glob(f"{task}-*")
            export(run.name)
    return {run.name.partition("-")[0]: run for run in (folder / "runs").iterdir()}


@pytest.fixture
def folder(runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the runs and their records are."""
    folder = runs["snli"].parents[1]
    monkeypatch.chdir(folder)
    return folder


def test_exports_answer_as_their_runs_beside_the_library_alone(runs: dict[str, Path], tmp_path: Path) -> None:
    exports = [shutil.copytree(runs[task] / "export", tmp_path / f"my {task}") for task in sorted(runs)]
    code = ELSEWHERE.format(without=_suite_beside_models(), pair=PAIR, texts=TEXTS)
    command = [sys.executable, "-c", code, *map(str, exports)]
    library = tmp_path / "library"
    library.mkdir()
    (library / "regattn").symlink_to(ROOT / "regattn")
    options = {"cwd": exports[0], "env": {**os.environ, "PYTHONPATH": str(library), "OMP_NUM_THREADS": "1"}}
    said = subprocess.run(command, capture_output=True, text=True, check=True, **options).stdout
    predictor, translator = from_run(runs["snli"]), from_run(runs["translation"])
    found, outputs = predictor.predict(*PAIR), translator.generate(TEXTS)
    wanted = [found.label, found.probabilities, [[best[0].text, best[0].score] for best in outputs]]
    assert json.loads(said) == json.loads(json.dumps(wanted))


def _suite_beside_models() -> list[str]:
    """What may be imported with the suite, and not with the extra for models."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    own = {"regattn", "filelock"}  # the second is what torch brings
    wanted = {canonicalize_name(Requirement(one).name) for one in extras["suite"]} - own
    modules = metadata.packages_distributions().items()
    return [name for name, owners in modules if wanted & set(map(canonicalize_name, owners))] + ["scripts"]


def test_a_missing_package_is_named_not_the_export_blamed(runs: dict[str, Path]) -> None:
    blocked = (
        "import sys; sys.modules['xxhash'] = None; from tasks.loading import from_run; from_run(sys.argv[1])"
    )
    command = [sys.executable, "-c", blocked, str(runs["snli"] / "export")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode and "ModuleNotFoundError: " in done.stderr.splitlines()[-1]
    assert "xxhash" in done.stderr.splitlines()[-1]


def test_the_card_says_what_the_record_says(runs: dict[str, Path], folder: Path) -> None:
    for record in read_records(folder / "results" / "runs"):
        card = (folder / "runs" / record.id / "export" / "README.md").read_text()
        assert card == model_card(record)
        for said in (f"# {record.id}", record.corpus["sha256"], record.commit, f"`{record.command}`"):
            assert said in card
        rows = [line.split(" | ") for line in card.splitlines() if line.startswith("| ")]
        values = {row[0].removeprefix("| "): row[1] for row in rows}
        for name, value in record.metrics["dev"].items():
            assert float(values[name]) == pytest.approx(value, rel=1e-3)
        assert "synthetic data" not in card and "synthetic data" in model_card(replace(record, tier="mini"))


def test_an_export_is_asked_like_a_run(runs: dict[str, Path], tmp_path: Path, capsys: Capture) -> None:
    said = []
    copy = shutil.copytree(runs["snli"] / "export", tmp_path / "copy")
    for run in (runs["snli"], copy):
        predict([str(run), *PAIR])
        said.append(capsys.readouterr().out.splitlines()[:-1])
    assert said[0] == said[1]


def test_nothing_exported_is_overwritten(runs: dict[str, Path], folder: Path, capsys: Capture) -> None:
    run = runs["snli"]
    assert "export is there already" in refused(lambda: export(run.name), capsys)
    files = {"LICENSE", "README.md", "config.json", "model.safetensors", "tasks", "vocabulary.json"}
    assert {path.name for path in (run / "export").iterdir()} == files
    before = _contents(run / "export")
    shutil.rmtree(run / "export")
    (record,) = (folder / "results" / "runs").glob("snli-*.json")
    aside = record.rename(folder / "aside.json")
    assert "must name a finished run" in refused(lambda: export(run.name), capsys)
    assert not (run / "export").exists()
    aside.rename(record)
    export(run.name)
    assert before == _contents(run / "export")
    assert not [path for path in run.iterdir() if path.name.startswith("tmp")]


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()
    }


def test_a_damaged_export_is_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(runs["snli"] / "export", tmp_path / "export"))
    file = copy / "model.safetensors"
    whole = file.read_bytes()
    for place in (0, 9, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises((CheckpointError, ResumeError), match=r"model\.safetensors"):
            from_run(copy)
    file.write_bytes(whole)
    words = json.loads((copy / "vocabulary.json").read_text())
    (copy / "vocabulary.json").write_text(json.dumps([*words[:2], *reversed(words[2:])]))
    with pytest.raises(ResumeError, match="must have this run's vocabulary"):
        from_run(copy)


@pytest.mark.parametrize(
    ("section", "value", "said"),
    [
        ("task", {"_target_": "os.system"}, r"task\._target_ must be one of tasks\.entailment"),
        ("attention", {"_target_": "os.system"}, r"attention\._target_ must be one of regattn\."),
        ("attention", {"_target_": "regattn.Fusedmax", "lamb": 1}, "must hold the config of a run"),
        ("attention", None, "must hold the config of a run"),
    ],
)
def test_a_config_names_nothing_but_what_is_registered(
    runs: dict[str, Path], tmp_path: Path, section: str, value: object, said: str
) -> None:
    copy = Path(shutil.copytree(runs["snli"] / "export", tmp_path / "export"))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, section: value}))
    with pytest.raises(ValueError, match=said):
        from_run(copy)


def test_weights_are_on_the_device_that_is_asked_for(runs: dict[str, Path]) -> None:
    model = from_run(runs["translation"], "meta").model
    assert {parameter.device for parameter in model.parameters()} == {torch.device("meta")}
