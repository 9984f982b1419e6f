"""A learning curve is the mean over seeds of what records say of every epoch, and the same file each time."""

from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from scripts.figures import draw_curves, main
from scripts.paper.plots import dev_curves
from scripts.style import COLOURS
from tasks._registry import TASKS
from tasks.training.records import Record, write_record
from tests.example_record import RECORD

CONFIG = {**RECORD.config, "trainer": {"epochs": 3}}
METRIC = TASKS["snli"].primary_metric


def record(name: str, accuracies: list[float], *, seed: int = 1, **changes: object) -> Record:
    history = [
        {"epoch": n, "step": n, "loss": 1.0, "seconds": 2.0, "dev": {"accuracy": value}}
        for n, value in enumerate(accuracies, 1)
    ]
    whole = replace(
        RECORD,
        id=f"{name}-{seed}",
        mapping=name,
        mapping_params={"gamma": 1.0},
        tier="mini",
        corpus={"name": "a/b", "sha256": "1" * 64, "sizes": {"train": 3, "dev": 2, "test": 1}},
        seed=seed,
        epochs=3,
        config=CONFIG,
        history=history,
    )
    return replace(whole, **changes)


def pixels(image: np.ndarray, colour: str) -> np.ndarray:
    """Rows and columns of the picture in which a colour stands, (pixels, 2)."""
    return np.argwhere(np.all(np.abs(image[..., :3] - to_rgb(colour)) < 0.02, axis=-1))


def test_a_curve_goes_on_as_long_as_all_seeds_do() -> None:
    runs = [record("fusedmax", [0.25, 0.5, 0.75]), record("fusedmax", [0.75, 1.0], seed=2)]
    assert dev_curves(runs, METRIC).tolist() == [[25.0, 50.0], [75.0, 100.0]]


def test_lines_have_the_colours_of_their_mappings_and_rise(tmp_path: Path) -> None:
    (path,) = draw_curves([record("fusedmax", [0.2, 0.5, 0.9]), record("softmax", [0.2, 0.4, 0.6])], tmp_path)
    image = imread(path)
    height, width = image.shape[:2]
    line = pixels(image, COLOURS["fusedmax"])
    line = line[line[:, 1] < 0.65 * width]  # beside it stands its name
    start, end = (line[line[:, 1] == column, 0].mean() for column in (line[:, 1].min(), line[:, 1].max()))
    assert end < start - height / 4
    assert not len(pixels(image, COLOURS["sparsemax"]))


def test_every_setting_has_its_panel(tmp_path: Path) -> None:
    runs = [record("softmax", [0.2, 0.4])]
    (one,) = draw_curves(runs, tmp_path / "one")
    runs.append(record("softmax", [0.3, 0.4], config={**CONFIG, "optim": {"lr": 0.1}}))
    (two,) = draw_curves(runs, tmp_path / "two")
    assert imread(two).shape[0] > 1.8 * imread(one).shape[0]


def test_corpora_and_tiers_have_files_of_their_own(tmp_path: Path) -> None:
    run = record("softmax", [0.2, 0.4])
    other = replace(run, corpus={**run.corpus, "sha256": "2" * 64})
    assert [path.name for path in draw_curves([run, replace(run, tier="paper")], tmp_path)] == [
        "curves-snli-a_b-mini.png", "curves-snli-a_b-paper.png"
    ]  # fmt: skip
    assert [path.name for path in draw_curves([run, other], tmp_path)] == [
        "curves-snli-a_b-mini-11111111.png", "curves-snli-a_b-mini-22222222.png"
    ]  # fmt: skip


def test_the_same_file_each_time(tmp_path: Path) -> None:
    runs = [record("fusedmax", [0.2, 0.5]), record("softmax", [0.2])]
    (first,) = draw_curves(runs, tmp_path / "first")
    with matplotlib.rc_context({"axes.facecolor": "black", "savefig.dpi": 20, "font.size": 30}):
        (second,) = draw_curves(runs[::-1], tmp_path / "second")
    assert first.read_bytes() == second.read_bytes()


def test_records_without_a_history_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_record(tmp_path / "results/runs", record("softmax", []))
    main(["curves"])
    assert capsys.readouterr().out == "no record in results/runs holds the history of its run\n"
    write_record(tmp_path / "results/runs", record("softmax", [0.2, 0.4], seed=2))
    main(["curves"])
    assert capsys.readouterr().out == "results/figures/curves-snli-a_b-mini.png\n"
    assert Path("results/figures/curves-snli-a_b-mini.png").read_bytes().startswith(b"\x89PNG")
