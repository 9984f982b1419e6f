"""Translators asked line by line: what goes in, what comes out, and what is refused."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from matplotlib.image import imread

from scripts import cli
from scripts import generate as generating
from scripts.generate import generate as ask
from scripts.generate import load_translator
from scripts.predict import predict
from scripts.runs.setup import find_run
from scripts.train import main as train
from tasks._registry import TASKS

ROOT = Path(__file__).resolve().parents[2]
TINY = ["task=translation", "data=translation/mini", "data.train=64", "data.dev=8", "data.test=8"]
TINY += ["task.model.hidden_size=16", "task.model.embedding_size=16", "task.search.max_length=9"]
TINY += [
    "trainer.epochs=1",
    "trainer.max_steps=3",
    "optim.warmup_steps=1",
    "trainer.threads=1",
    "progress=false",
]
LINES = ["der hund schläft", "", "die alte frau\u2028hat \x85 den könig gesehen", "  ", "xyz \r"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs without their corpus: the config names one that cannot be made."""
    folder = tmp_path_factory.mktemp("runs")
    found = []
    for mapping in ("fusedmax", "softmax"):
        train([*TINY, f"attention={mapping}", f"output_dir={folder}/runs", f"results_dir={folder}/results"])
        (run,) = (folder / "runs").glob(f"*-{mapping}-*")
        config = json.loads((run / "config.json").read_text())
        config["data"]["train"] = -1
        (run / "config.json").write_text(json.dumps(config))
        found.append(run)
    return found


class Asking:
    """Calls the command with lines on its standard input."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys
        capsys.readouterr()

    def __call__(self, *arguments: object, stdin: bytes = "\n".join(LINES).encode()) -> str:
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="ascii"))
        ask(["translate", *map(str, arguments)])
        written, self.said = self.capsys.readouterr()
        return written

    def refused(self, *arguments: object, stdin: bytes = b"hund\n", command: str = "translate") -> str:
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as stop:
            cli.main(lambda: ask([command, *map(str, arguments)]))
        assert stop.value.code == cli.WRONG_INPUT
        said = self.capsys.readouterr().err
        assert said.startswith("error: ") and said.count("\n") == 1
        return said


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Asking:
    return Asking(monkeypatch, capsys)


def test_every_line_has_its_line_in_any_chunks(
    runs: list[Path], asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = asking(runs[0])
    lines = written.split("\n")
    assert len(lines) == len(LINES) + 1 and [bool(line) for line in lines] == [
        True,
        False,
        True,
        False,
        True,
        False,
    ]
    wanted = load_translator(find_run(str(runs[0])), torch.device("cpu")).generate(LINES)
    assert lines[:-1] == [outputs[0].text for outputs in wanted]
    for size in (1, 2):
        monkeypatch.setattr(generating, "_CHUNK", size)
        assert asking(runs[0]) == written
    assert asking(runs[0], stdin=b"") == "" and "standard input is empty: nothing to answer" in asking.said
    assert asking(runs[0], stdin="\ufeffder hund schläft\n".encode()) == lines[0] + "\n"


def test_lists_of_outputs_are_numbered_and_sorted(runs: list[Path], asking: Asking) -> None:
    rows = [line.split(" ||| ") for line in asking(runs[0], "--nbest", 7).split("\n")[:-1]]
    assert "beam of 7 instead of 5" in asking.said
    assert [row[0] for row in rows] == [*"0" * 7, "1", *"2" * 7, "3", *"4" * 7]
    scores = [float(row[2]) for row in rows[:7]]
    assert scores == sorted(scores, reverse=True) and len({row[1] for row in rows[:7]}) > 1
    assert rows[7] == ["1", "", "0.000000"]
    assert len(asking(runs[0], "--nbest", 2, "--beam-size", 3).split("\n")) == 2 * 3 + 2 + 1
    assert "beam" not in asking.said


def test_the_search_is_as_asked(runs: list[Path], asking: Asking) -> None:
    def best(*options: object) -> list[str]:
        return [line.split(" ||| ")[2] for line in asking(runs[0], "--nbest", 1, *options).split("\n")[:-1]]

    assert best("--length-penalty", 2) != best()
    assert all(len(line.split()) <= 2 for line in asking(runs[0], "--max-length", 2).split("\n"))


def test_attention_as_json(runs: list[Path], asking: Asking, tmp_path: Path) -> None:
    file = tmp_path / "new" / "attention.json"
    written = asking(f"{runs[0]} {runs[1]}", "--attention", file).split("\n")[:-1]
    text = file.read_text(encoding="utf-8")
    found = json.loads(text)
    assert len(text.split("\n")) == len(found) + 3 == 2 * len(LINES) + 3
    assert [entry["mapping"] for entry in found] == ["fusedmax", "softmax"] * len(LINES)
    assert [entry["run"] for entry in found] == [run.name for run in runs] * len(LINES)
    assert [entry["index"] for entry in found[::2]] == [*range(len(LINES))]
    assert ["\t".join(e["output"] for e in found[k : k + 2]) for k in range(0, len(found), 2)] == written
    for entry in found:
        assert len(entry["weights"]) == len(entry["groups"]) == len(entry["target"])
        for weights, groups in zip(entry["weights"], entry["groups"], strict=True):
            assert len(weights) == len(groups) == len(entry["source"])
            assert sum(weights) == pytest.approx(1, abs=1e-4)
            assert [weight > 0 for weight in weights] == [group > 0 for group in groups]
    assert found[0]["source"] == ["der", "hund", "schläft"] and found[2]["source"] == []
    assert found[4]["input"] == LINES[2]


def test_pictures_say_what_they_leave_out(runs: list[Path], asking: Asking, tmp_path: Path) -> None:
    one, two, none = (tmp_path / f"{name}.png" for name in ("one", "two", "none"))
    many = b"der hund schl\xc3\xa4ft\n" * 10
    asking(runs[0], "--attention", one, stdin=many)
    assert f"picture {one}; 2 more sentences left out" in asking.said
    asking(f"{runs[0]} {runs[1]}", "--attention", two, stdin=b"der hund\n\n")
    assert f"picture {two}\n" in asking.said
    assert imread(two).shape[0] < imread(one).shape[0]
    asking(runs[0], "--attention", none, stdin=b"\n\n")
    assert f"no picture {none}" in asking.said and not none.exists()


def test_refusals(runs: list[Path], asking: Asking, tmp_path: Path) -> None:
    run = runs[0]
    assert "line 2 of the input must be UTF-8, got byte 0xff at offset 2" in asking.refused(
        run, stdin=b"hund\nab\xffc\n"
    )
    file = tmp_path / "a.json"
    asking.refused(run, "--attention", file, stdin=b"\xff")
    assert "n_best must be at most beam_size, 2, got 3" in asking.refused(run, "--nbest", 3, "--beam-size", 2)
    assert "n_best must be an integer of at least 1, got 0" in asking.refused(run, "--nbest", 0)
    assert "must end in .json, .png, .pdf, .svg, got 'a.gif'" in asking.refused(run, "--attention", "a.gif")
    file.mkdir()
    assert "must be a file, got the directory" in asking.refused(run, "--attention", file)
    file.rmdir()
    assert "--nbest must get one run, got 2" in asking.refused(f"{run} {run}", "--nbest", 1)
    assert "RUN must name a run" in asking.refused("")
    assert "RUN must name one run" in asking.refused("no-such-run")
    assert "make translate asks it" in asking.refused(run, command="summarize")
    assert not list(tmp_path.iterdir())


def test_the_commands_name_each_other(
    runs: list[Path], asking: Asking, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = {spec.command: spec.writes_text for spec in TASKS.values()}
    assert commands == {"predict": False, "translate": True, "summarize": True}
    (tmp_path / "config.json").write_text(json.dumps({"task_name": "snli"}))
    assert f"must get a run of gigaword, got {tmp_path.name} of snli: make predict asks it" in asking.refused(
        tmp_path, command="summarize"
    )
    with pytest.raises(
        cli.UsageError, match=r"make predict must get a run of snli, got .*: make translate asks it"
    ):
        predict([str(runs[0]), "a dog", "a cat"])


def test_a_damaged_run_is_refused(runs: list[Path], asking: Asking, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs[0], run)
    (run / "vocabulary.json").write_text('{"source": ')
    assert "vocabulary.json must be JSON, got a damaged file" in asking.refused(run)
    shutil.copy(runs[0] / "vocabulary.json", run)
    for checkpoint in run.glob("checkpoint.ckpt*"):
        checkpoint.write_bytes(checkpoint.read_bytes()[:-9])
    assert "checkpoint.ckpt" in asking.refused(run)


def test_who_has_seen_enough_ends_it_quietly(runs: list[Path]) -> None:
    command = [sys.executable, "-m", "scripts.generate", "translate", str(runs[0])]
    asked = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert asked.stdin and asked.stdout and asked.stderr
    asked.stdin.write(b"der hund\n" * 256)
    asked.stdin.flush()
    assert asked.stdout.readline() != b""  # the first chunk is written before the input ends
    asked.stdout.close()
    asked.stdin.write(b"der hund\n" * 256)
    asked.stdin.close()
    assert (asked.wait(), asked.stderr.read()) == (141, b"")
