"""The benchmark: right ratios, right labels, nothing lost. That it is fast is no test's business."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import pytest
import torch

import regattn
from regattn.kernels import LONGEST_ON_CUDA
from scripts import cli
from scripts.bench import __main__ as program
from scripts.bench import sections
from scripts.bench.implementations import (
    BASELINE,
    IMPLEMENTATIONS,
    MEMCPY,
    Calls,
    Implementation,
    candidates,
    check_agreement,
    torch_calls,
    worst,
)
from scripts.bench.render import cost_by_mapping, mean_ratio, read_results, render, short, tables
from scripts.bench.sections import BenchConfig, hard_rows, quick, shapes
from scripts.bench.timing import (
    LARGEST_POOL,
    POOL,
    Rounds,
    draw_inputs,
    pool_size,
    summarize,
    time_interleaved,
)

OURS = {f"regattn.{name}" for name, spec in regattn.MAPPINGS.items() if spec.certificate}
OWN = tuple(i for i in IMPLEMENTATIONS if i.kind != "other")
OTHERS = tuple(i for i in IMPLEMENTATIONS if i.kind == "other")
LAM = ("fusedmax", "oscarmax")
ENTMAX = tuple(i for i in OTHERS if i.package == "entmax")
QUICK = quick(BenchConfig(threads=(1,)))
QUIETLY = ["--quick", "--threads", "1"]
CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[2]


def other(name: str, function: Callable[[torch.Tensor], torch.Tensor], mapping: str = "sparsemax"):
    return Implementation(name, "other", mapping, lambda lam: torch_calls(function), "a stand-in", name)


def compare_with(monkeypatch: pytest.MonkeyPatch, *others: Implementation) -> None:
    """Have these packages and no other to compare with."""
    monkeypatch.setattr(sections, "IMPLEMENTATIONS", (*OWN, *others))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place, and entmax as the only package to compare with: it is the one that tests install."""
    monkeypatch.chdir(tmp_path)
    compare_with(monkeypatch, *ENTMAX)
    return tmp_path


def read(folder: Path, name: str = "runs/bench/cpu.json") -> dict:
    return json.loads((folder / name).read_text(encoding="utf-8"))["sections"]


def cell(**ratios: list[float]) -> dict:
    """A cell of a result; each implementation with its ratios at one millisecond of softmax a round."""
    unit = {number: 1e-3 for number in range(9)}
    seconds = {name: {k: 1e-3 * value for k, value in enumerate(found)} for name, found in ratios.items()}
    return {name: summarize(times, unit) for name, times in seconds.items()}


def result(*cells: dict) -> dict:
    """A whole result made by hand."""
    place = {"dtype": "float32", "threads": 1, "direction": "both"}
    section = {
        "history": {
            "commit": "c" * 40, "command": "python", "date": "2026-11-01", "seconds": 1.0, "load": 0.0,
            "machine": {"kind": "cpu", "name": "a processor", "cores": 2}, "versions": {"torch": "2.13.0"},
        },
        "implementations": {
            BASELINE: {"kind": "baseline", "mapping": "softmax", "note": ""},
            "regattn.sparsemax": {"kind": "ours", "mapping": "sparsemax", "note": ""},
            "other": {"kind": "other", "mapping": "sparsemax", "note": ""},
        },
        "skipped": {"absent": "No module named 'absent'"},
        "agreement": {
            "other": {"against": "regattn.sparsemax in float64", "weights": 0.25, "tolerance": 1e-5,
                      "gradient_rows_off": 0.5, "rows": 4, "agrees": False, "where": "4×8, scale 1"},
        },
        "cells": [
            {"rows": 4, "d": d, "scale": scale, **place, "results": results}
            for results, (d, scale) in zip(cells, [(8, 1.0), (8, 3.0), (16, 1.0)], strict=False)
        ],
    }  # fmt: skip
    return {"shapes": section}


def test_a_quick_look_leaves_its_figures_tables_and_plots(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program.main([*QUIETLY, "--only", "shapes,length,strength,adversarial,training"])
    sections = read(folder)
    found = sections["shapes"]
    assert set(found["implementations"]) == {BASELINE, MEMCPY, *OURS, *(i.name for i in ENTMAX)}
    assert len(found["cells"]) == 2 * 2 * 2  # shapes, scales, directions
    for measured in found["cells"]:
        assert set(measured["results"]) == set(found["implementations"])
        assert measured["results"][BASELINE]["ratio"] == 1
        for row in measured["results"].values():
            low, high = row["seconds_quartiles"]
            assert 0 < low <= row["seconds"] <= high
            assert 2 <= row["rounds"] <= 5
    for name, row in found["agreement"].items():
        assert row["agrees"], name
        assert row["rows"] == 2 * (16 + 32)
    assert set(found["agreement"]) == {BASELINE, *OURS, *(one.name for one in ENTMAX)}
    assert {*found["history"]} >= {"commit", "command", "date", "machine", "threads", "versions", "seconds"}
    assert found["history"]["versions"]["torch"] == version("torch")  # without +cu130 in builds from PyPI
    assert [measured["d"] for measured in sections["length"]["cells"]] == list(QUICK.lengths)
    assert [measured["lam"] for measured in sections["strength"]["cells"]] == list(QUICK.strengths)
    assert set(sections["training"]["cells"][0]["results"]) == OURS
    hard = {measured["implementation"]: measured["results"] for measured in sections["adversarial"]["cells"]}
    assert all(row["violation"] < 1e-6 for name in OURS for row in hard[name].values())
    assert hard["regattn.fusedmax"]["random"]["ratio"] == 1

    text = capsys.readouterr().out
    assert "under a minute" in text
    assert (folder / "runs/bench/cpu.md").read_text(encoding="utf-8") in text
    for name in ("shapes", "length", "strength"):
        assert (folder / f"runs/bench/cpu-{name}.png").read_bytes().startswith(b"\x89PNG")
        assert f"(cpu-{name}.png)" in text
    assert not (folder / "results").exists()  # a quick look replaces no figure


def test_threads_have_their_turns_on_the_same_work(folder: Path) -> None:
    program.main(["--quick", "--threads", "1,2", "--only", "scaling"])
    found = read(folder)["scaling"]
    assert set(found["implementations"]) == {BASELINE, MEMCPY, *OURS}
    assert [(cell["rows"], cell["d"]) for cell in found["cells"]] == list(QUICK.shapes)
    for row in (row for cell in found["cells"] for row in cell["results"].values()):
        assert set(row) == {"1", "2"}
        assert all(t["seconds"] > 0 and t["rounds"] == 10 for t in row.values())
    row["2"]["seconds"] = row["1"]["seconds"] / 1.75
    last = tables({"scaling": found}, "cpu.json").splitlines()
    assert [line for line in last if line.endswith(" 1.75 |")]
    assert torch.get_num_threads() == 1


def test_one_number_of_threads_is_compared_with_no_other(folder: Path) -> None:
    program.main([*QUIETLY, "--only", "scaling"])
    assert read(folder)["scaling"]["cells"] == []
    assert "Several threads" not in (folder / "runs/bench/cpu.md").read_text(encoding="utf-8")


def test_ratios_are_taken_within_shared_rounds() -> None:
    unit = {0: 1.0, 1: 4.0, 2: 2.0, 3: 100.0}
    row = summarize({0: 2.0, 1: 12.0, 2: 2.0}, unit)
    assert row["ratio"] == 2  # of 2, 3 and 1: the quotient of the medians would be 2 / 3
    assert row["ratio_quartiles"] == [1.5, 2.5]
    assert (row["seconds"], row["rounds"]) == (2, 3)


def test_all_take_turns_and_the_slow_fewer() -> None:
    order: list[float] = []

    def timer(calls: Sequence[Callable[[], object]], at: float) -> float:
        seconds = calls[int(at * len(calls))]()
        assert isinstance(seconds, float)
        order.append(seconds)
        return seconds

    rounds = Rounds(0.09, 11, 3, 101)
    calls = {"baseline": [lambda: 0.001], "slow": [lambda: 1.0], "thorough": [lambda: 0.5]}
    found = time_interleaved(calls, timer, rounds, baseline="baseline", thorough=["thorough"])
    assert {n: len(seconds) for n, seconds in found.items()} == {"baseline": 30, "slow": 3, "thorough": 11}
    assert found["slow"].keys() <= found["baseline"].keys()
    assert sorted(found["slow"]) == [0, 10, 20]
    places = [k for k, seconds in enumerate(order) if seconds == 1.0]
    assert max(b - a for a, b in pairwise(places)) > 10  # spread, not in a row

    calls = {"baseline": [lambda: 0.01], "fast": [lambda: 0.0001]}
    found = time_interleaved(calls, timer, rounds, baseline="baseline")
    # Or some rounds would have nothing to divide by.
    assert len(found["baseline"]) == len(found["fast"]) == 101


@pytest.mark.parametrize("name", [name for name in sections.SECTIONS if name != "scaling"])
def test_nothing_is_begun_once_the_time_is_over(name) -> None:
    found = sections.SECTIONS[name](replace(quick(BenchConfig()), deadline=0.0, host=(16, 8)))
    assert not any(cell["results"] for cell in found["cells"])
    assert sections.NO_TIME in found["skipped"].values()


def test_inputs_together_are_twice_as_large_as_the_cache() -> None:
    cache = 50 * 2**20
    assert pool_size(2**20, 0) == POOL
    assert pool_size(2**23, cache) * 2**23 >= 2 * cache
    assert pool_size(2**10, cache) == LARGEST_POOL


def test_a_gpu_is_asked_for_no_row_that_its_kernels_refuse() -> None:
    config = sections.CONFIGS["cuda"]
    lengths = [
        *config.lengths,
        config.adversarial[1],
        config.strengths_shape[1],
        *(d for _, d in config.shapes),
    ]
    assert max(lengths) <= LONGEST_ON_CUDA


def test_the_benchmark_needs_nothing_but_torch_and_regattn() -> None:
    code = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("hydra", "matplotlib", "omegaconf", "pandas", "safetensors", "yaml"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
from scripts.bench import __main__, render
from pathlib import Path
assert render._drawn({"shapes": {"cells": [{}]}}, Path("cuda.json")) == {}
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stderr.strip() == "without plots, which need matplotlib"


def test_the_mean_is_geometric_and_needs_every_cell() -> None:
    cells = [{"results": cell(a=[2.0], b=[3.0])}, {"results": cell(a=[8.0])}]
    assert mean_ratio(cells, "a") == pytest.approx(4)
    assert mean_ratio(cells, "b") is None


def test_a_table_says_what_the_json_says() -> None:
    both = {BASELINE: [1.0], "other": [20.0], "regattn.sparsemax": [2.0]}
    content = result(cell(**both), cell(**{**both, "regattn.sparsemax": [4.0]}), cell(**{BASELINE: [1.0]}))
    text = tables(content, "cpu.json")
    assert "| × torch.softmax, scale 1 / 3 | mean | target | 4×8 | 4×16 |" in text
    assert "| torch.softmax = 1 takes |  |  | 1 / 1 ms | 1 ms |" in text
    assert "| **regattn.sparsemax** | – | 1.2 | 2.0 / 4.0 | – |" in text
    assert "| other (WRONG, see below) | – |  | 20 / 20 | – |" in text
    assert (
        "other is WRONG: against regattn.sparsemax in float64 its weights differ by up to 0.2 at 4×8" in text
    )
    assert "without absent: No module named 'absent'" in text
    assert "| fusedmax (reported) | 1140 | 610 | 156 |" in text
    content["shapes"]["cells"].pop()
    assert "| **regattn.sparsemax** | 2.83 | 1.2, missed | 2.0 / 4.0 |" in tables(content, "cpu.json")
    for found, ratio in zip(content["shapes"]["cells"], (1.0, 1.4), strict=True):
        found["results"]["regattn.sparsemax"]["ratio"] = ratio
    assert "| **regattn.sparsemax** | 1.18 | 1.2 | 1.0 / 1.4 |" in tables(content, "cpu.json")


def test_results_from_elsewhere_are_rendered_alone(tmp_path: Path) -> None:
    path = tmp_path / "cuda.json"
    both = {BASELINE: [1.0, 1.1], "other": [20.0, 21.0], "regattn.sparsemax": [2.0, 2.1]}
    content = {"sections": result(cell(**both), cell(**both))}
    path.write_text(json.dumps(content), encoding="utf-8")
    program.main(["render", str(path)])
    first = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert set(first) == {"cuda.json", "cuda.md", "cuda-shapes.png"}
    render(path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == first


def test_wrong_packages_are_called_wrong(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nearly = other("nearly", lambda scores: regattn.fusedmax(scores, lam=0.101), "fusedmax")
    backwards = other(
        "backwards", lambda x: regattn.sparsemax(x).detach() + 0 * x
    )  # right weights, no gradient
    shifted = other(
        "shifted", lambda scores: regattn.sparsemax(scores) + 1e-4
    )  # wrong weights, right gradient
    lost = other("lost", lambda scores: scores * torch.nan)
    compare_with(monkeypatch, *ENTMAX, nearly, backwards, shifted, lost)
    monkeypatch.setattr(program, "quick", lambda _: replace(QUICK, scales=(1.0,)))
    program.main([*QUIETLY, "--only", "shapes"])
    found = read(folder)["shapes"]["agreement"]
    assert {name for name, row in found.items() if not row["agrees"]} == {
        "nearly",
        "backwards",
        "shifted",
        "lost",
    }
    assert 1e-4 < found["nearly"]["weights"] < 1e-2
    assert found["backwards"]["weights"] < 1e-6 and found["backwards"]["gradient_rows_off"] > 0.5
    assert found["shifted"]["weights"] > 9e-5 and found["shifted"]["gradient_rows_off"] == 0
    printed = capsys.readouterr()
    for name in ("nearly", "backwards", "shifted", "lost"):
        assert f"{name} is WRONG" in printed.err
        assert f"{name} (WRONG, see below)" in printed.out
    assert "its weights are not numbers" in printed.err


def test_missing_packages_are_left_out_with_the_reason(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(lam: float | None) -> None:
        import a_package_that_nobody_has  # noqa: F401

    def refuse(scores: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("built for another processor\nand more")

    missing = Implementation("missing", "other", "sparsemax", absent)  # type: ignore[arg-type]
    compare_with(monkeypatch, missing, other("refusing", refuse))
    program.main([*QUIETLY, "--only", "length"])
    printed = capsys.readouterr()
    wanted = {
        "missing": "No module named 'a_package_that_nobody_has'",
        "refusing": "built for another processor",
    }
    assert read(folder)["length"]["skipped"] == wanted
    for name, why in wanted.items():
        assert f"length: without {name}: {why}" in printed.err
        assert f"- without {name}: {why}" in printed.out


def test_an_interrupted_run_loses_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    marks = iter(range(10))

    def section(config: BenchConfig) -> dict:
        return {"implementations": {}, "skipped": {}, "cells": [], "mark": next(marks)}

    def interrupted(config: BenchConfig) -> dict:
        raise KeyboardInterrupt

    monkeypatch.setattr(program, "SECTIONS", dict.fromkeys(("shapes", "length", "memory"), section))
    program.main(["--only", "shapes,length,memory"])
    monkeypatch.setitem(program.SECTIONS, "length", interrupted)
    with pytest.raises(SystemExit) as stop:
        program.main(["--only", "shapes,length,memory"])
    assert stop.value.code == 75
    assert "stopped in length; results/bench/cpu.json keeps" in capsys.readouterr().err
    found = read(folder, "results/bench/cpu.json")
    assert {name: part["mark"] for name, part in found.items()} == {"shapes": 3, "length": 1, "memory": 2}
    assert [path.name for path in (folder / "results/bench").glob("*.tmp")] == []


def test_a_file_that_is_no_result_is_not_written_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "results/bench/cpu.json"
    path.parent.mkdir(parents=True)
    path.write_text("half a fi", encoding="utf-8")
    monkeypatch.setattr(program, "SECTIONS", {"shapes": None})  # measuring would fail in another way
    with pytest.raises(SystemExit):
        cli.main(lambda: program.main([]))
    assert "results/bench/cpu.json must be JSON, got a damaged file" in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == "half a fi"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--device", "tpu"], "DEVICE"),
        (["--only", "shapes,speed"], "'speed'"),
        (["--threads", "0"], "THREADS"),
        (["--threads", "two"], "THREADS"),
        (["--quickly", "yes"], "--quickly"),
        (["render"], "results/bench"),
        (["render", "nowhere.json"], "nowhere.json"),
        *([] if torch.cuda.is_available() else [(["--device", "cuda"], "CUDA")]),
    ],
)
def test_a_bad_option_gets_one_sentence(
    folder: Path, arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(lambda: program.main(arguments))
    assert stop.value.code == cli.WRONG_INPUT
    lines = capsys.readouterr().err.strip().split("\n")
    assert len(lines) == 1 and lines[0].startswith("error: ") and named in lines[0]
    assert not list(folder.iterdir())


def test_every_other_package_is_locked() -> None:
    locks = [path.read_text(encoding="utf-8") for path in (ROOT / "requirements").glob("*.txt")]
    locked = {name for lock in locks for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)}
    assert locked >= {i.package.replace("_", "-") for i in OTHERS}


@pytest.mark.parametrize("other", OTHERS, ids=lambda implementation: implementation.name)
def test_each_package_installed_computes_what_it_is_said_to(other: Implementation) -> None:
    found, skipped = candidates(CPU, torch.float32, [other])
    if skipped:
        pytest.skip(skipped[other.name])
    (pair,) = draw_inputs(64, 30, 1.0, torch.float32, CPU, pool=1)
    checks = check_agreement(found, *pair, "here")
    assert all(check["agrees"] for check in checks.values())
    assert checks


def test_threads_are_left_as_they_were(folder: Path) -> None:
    before = torch.get_num_threads()
    shapes(replace(QUICK, shapes=((4, 8),), scales=(1.0,), threads=(2,)))
    assert torch.get_num_threads() == before


def test_forward_alone_is_forward_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []

    def bind(scores: torch.Tensor, gradient: torch.Tensor) -> Calls:
        return Calls(lambda: called.append("forward"), lambda: called.append("both"))

    compare_with(monkeypatch, Implementation("counting", "other", "", lambda lam: bind))
    found = shapes(replace(QUICK, shapes=((4, 8),), scales=(1.0,)))
    for measured in found["cells"]:
        # Its rounds, three calls to warm up, one to see whether it works at all.
        assert called.count(measured["direction"]) == measured["results"]["counting"]["rounds"] + 3 + 1


def test_every_dtype_has_its_cells_and_its_tables(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = (torch.float32, torch.bfloat16)

    def only_single(scores: torch.Tensor) -> torch.Tensor:
        if scores.dtype != torch.float32:
            raise TypeError("float32 alone")
        return scores.softmax(-1)

    compare_with(monkeypatch, other("single", only_single, "softmax"))
    config = replace(QUICK, shapes=((32, 20),), scales=(1.0,), dtypes=both)
    monkeypatch.setattr(program, "quick", lambda _: config)
    program.main([*QUIETLY, "--only", "shapes"])
    found = read(folder)["shapes"]
    assert {measured["dtype"] for measured in found["cells"]} == {"float32", "bfloat16"}
    assert found["skipped"] == {"single at bfloat16": "float32 alone"}
    text = (folder / "runs/bench/cpu.md").read_text(encoding="utf-8")
    assert text.count("| single |") == 2  # in the tables of float32, forward alone and with backward
    assert "### Forward alone, bfloat16, threads: 1" in text


def test_hard_rows_are_what_they_are_called() -> None:
    rows = hard_rows(2, 64)
    assert all(scores.shape == (2, 64) and scores.is_contiguous() for scores in rows.values())
    assert (rows["ascending"].diff(dim=-1) >= 0).all() and (rows["descending"].diff(dim=-1) <= 0).all()
    inside = rows["all within 1 + 4λ"]
    assert (inside.amax(-1) - inside.amin(-1) <= 1.4).all()


@pytest.mark.skipif(sys.platform != "linux", reason="reads the marks that Linux keeps of a process")
def test_memory_of_softmax_is_weights_and_gradient() -> None:
    measured = sections.memory(BenchConfig(memory=(1024, 512), memory_implementations=1))
    (found,) = measured["cells"]
    assert found["results"][BASELINE]["bytes_per_score"] == pytest.approx(8, rel=0.2)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the marks that Linux keeps of a process")
def test_memory_of_a_call_is_not_that_of_an_earlier() -> None:
    code = """
import torch
from scripts.bench.implementations import Calls
from scripts.bench.sections import fix_malloc_threshold, peak_of_a_call
fix_malloc_threshold()
torch.ones(50 * 2**20)
print(peak_of_a_call(Calls(lambda: None, lambda: torch.ones(5 * 2**20)), torch.zeros(1)))
"""
    # a process of its own, as when measured: in this one earlier tests have left memory to use again
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == pytest.approx(20 * 2**20, rel=0.2)


def test_the_copy_moves_the_bytes_that_a_mapping_must() -> None:
    ((scores, gradient),) = draw_inputs(10, 4, 1.0, torch.float32, CPU, pool=1)
    (memcpy,) = (i for i in IMPLEMENTATIONS if i.kind == "memcpy")
    copied = memcpy.bind(scores, gradient)
    assert 2 * copied.forward().nbytes == 2 * scores.nbytes
    assert 2 * copied.both().nbytes == 5 * scores.nbytes


def test_short_numbers() -> None:
    numbers = [0.512, 0.996, 3.14159, 9.96, 27.3, 1139.6, None]
    assert [*map(short, numbers)] == ["0.51", "1.0", "3.1", "10", "27", "1140", "–"]


def test_committed_tables_are_those_of_the_committed_results() -> None:
    """They were measured when other words stood in the file."""
    path = ROOT / "results/bench/cpu.json"
    drawn = {name: f"cpu-{name}.png" for name in ("shapes", "length", "strength")}
    found = tables(read_results(path), path.name, drawn)
    assert found == path.with_suffix(".md").read_text(encoding="utf-8")


def test_the_readme_names_the_fastest_of_each_mapping() -> None:
    """Its table is made of the cells of one thread alone, forward and backward, and of right answers."""
    names = {"a.s": ("ours", "sparsemax"), "b.s": ("other", "sparsemax"), "c.s": ("other", "sparsemax"),
             "w.s": ("other", "sparsemax"), "d.f": ("other", "fusedmax"),
             "a.p": ("ours", "pnormmax")}  # fmt: skip
    ratios = {"a.s": 2.0, "b.s": 50.0, "c.s": 20.0, "w.s": 1.0, "d.f": 1.0, "a.p": 0.5}
    cell = {"dtype": "float32", "threads": 1, "direction": "both",
            "results": {name: {"ratio": ratio} for name, ratio in ratios.items()}}  # fmt: skip
    slow = {"results": {name: {"ratio": 8 * ratio} for name, ratio in ratios.items()}}
    shapes = {
        "implementations": {name: {"kind": kind, "mapping": of} for name, (kind, of) in names.items()},
        "agreement": {"w.s": {"agrees": False}},
        "cells": [
            cell,
            {**cell, **slow},
            {**cell, **slow, "threads": 2},
            {**cell, **slow, "direction": "forward"},
        ],
    }
    steps = {"cells": [{"results": {"a.s": {"ratio": 1.0123}}}]}
    lines = cost_by_mapping({"shapes": shapes, "training": steps}).splitlines()[2:]
    assert lines == [
        "| `sparsemax` | 5.7 (2.0 to 16) | 57 (c.s) | 1.012 |",
        "| `pnormmax` | 1.4 (0.50 to 4.0) | – | – |",
    ]
    assert cost_by_mapping({}) == ""


def test_strength_is_the_one_that_is_asked_for() -> None:
    scores = torch.randn(3, 9, requires_grad=True)
    for lam, expected in ((None, {"fusedmax": 0.1, "oscarmax": 0.01}), (0.5, dict.fromkeys(LAM, 0.5))):
        found, _ = candidates(CPU, torch.float32, OWN, lam)
        assert {i.mapping: i.lam for i in found if i.lam is not None} == expected
        for i in found:
            if i.kind == "ours":
                strengths = {} if i.lam is None else {"lam": i.lam}
                weights = getattr(regattn, i.mapping)(scores, **strengths)
                assert torch.equal(i.bind(scores, torch.ones_like(scores)).forward(), weights)


def test_worst_of_several_checks_is_told() -> None:
    good = {"weights": 5e-6, "tolerance": 1e-5, "gradient_rows_off": 0.5, "rows": 4, "agrees": True}
    bad = {"weights": 3e-6, "tolerance": 1e-6, "gradient_rows_off": 0.0, "rows": 5, "agrees": False}
    for checks in ([good, bad], [bad, good]):
        assert worst(checks) == {**bad, "gradient_rows_off": 0.5, "rows": 9}
    assert worst([good, good]) == {**good, "rows": 8}
