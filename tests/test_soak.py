"""What is measured is added up right, and nothing that failed or did not run passes for measured."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.markdown import filled
from scripts.reliability import PLACE, markdown_tables
from tests import soak
from tests.soak_rows import BY_NAME, ROWS, Row

pytest_plugins = ["pytester"]
TESTS = Path(__file__).parent
FEW = {
    row.name: row
    for row in (
        Row("many", "A", "many |x|", "all", 40),
        Row("worst", "A", "worst", "at most 1", 100),
        Row("broken", "A", "broken", "all", 10),
        Row("raised", "A", "raised", "all", 10),
        Row("skipped", "B", "skipped", "all", 10),
        Row("whole", "B", "whole", "all", 3, whole=True),
        Row("marked", "B", "marked", "all", 3, whole=True),
        Row("nowhere", "B", "nowhere", "all", 10),
    )
}
LAWS = """
import pytest

@pytest.mark.parametrize("part", range(3))
def test_many(measure, part):
    row = measure("many", parts=3)
    row.all([True] * row.n, part=part)

def test_worst(measure):
    row = measure("worst")
    for k in range(row.n):
        row.within(k, 200, seed=1)

def test_broken(measure):
    row = measure("broken")
    row.within([0.5] * (row.n - 1) + [float("nan")], 1.0)

def test_raised(measure):
    row = measure("raised")
    row.add(row.n)
    assert False

def test_skipped(measure):
    measure("skipped")
    pytest.skip("no device")

@pytest.mark.parametrize("case", range(3))
@pytest.mark.measures("whole")
def test_whole(case):
    pass

@pytest.mark.measures("marked")
@pytest.mark.parametrize("case", range(3))
def test_marked(case):
    assert case != 1
    if case == 2:
        pytest.skip("not here")

def test_of_nothing():
    assert False, "measures nothing, so that it is not run"
"""


@pytest.fixture
def laws(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setattr(soak, "BY_NAME", FEW)
    pytester.makepyfile(LAWS)
    pytester.makeconftest(
        "from tests import soak\n"
        "def pytest_addoption(parser): soak.add_option(parser)\n"
        "def pytest_configure(config): config.pluginmanager.register(soak.Soak(config, soak.BY_NAME))\n"
    )
    return pytester


def soaked(laws: pytest.Pytester, *arguments: str) -> dict[str, dict[str, Any]]:
    laws.runpytest_inprocess("-p", "no:cacheprovider", *arguments)
    found = json.loads((laws.path / soak.RESULTS).read_text())
    return {row["name"]: row for row in found["rows"]}


@pytest.mark.parametrize("share", [1, 0.5])
def test_what_tests_measure_is_added_up(laws: pytest.Pytester, share: float) -> None:
    rows = soaked(laws, f"--soak={share}")
    assert {name: row["state"] for name, row in rows.items()} == {
        "many": "passed", "worst": "passed", "broken": "failed", "raised": "failed",
        "skipped": "not run", "whole": "passed", "marked": "failed", "nowhere": "not run",
    }  # fmt: skip
    assert rows["many"]["wanted"] == 40 * share <= rows["many"]["n"] < 40 * share + 3
    assert rows["many"]["facts"] == {"part": [0, 1, 2]}
    assert rows["worst"]["worst"] == (100 * share - 1) / 200
    assert (rows["broken"]["failures"], rows["broken"]["n"]) == (1, 10 * share)
    assert rows["raised"]["failed"] == ["test_what_tests_measure_is_added_up.py::test_raised"]
    assert rows["skipped"]["skipped"] == ["Skipped: no device"]
    assert rows["whole"]["n"] == 3
    assert (rows["marked"]["n"], rows["marked"]["failures"]) == (2, 1)


def test_a_part_that_is_left_out_makes_a_row_short(laws: pytest.Pytester) -> None:
    rows = soaked(laws, "--soak=1", "-k", "0 or worst")
    assert [rows[name]["state"] for name in ("many", "whole", "worst")] == ["short", "short", "passed"]
    assert (rows["many"]["n"], rows["whole"]["n"]) == (14, 1)


def test_an_ordinary_run_takes_its_share_and_writes_nothing(laws: pytest.Pytester) -> None:
    laws.makepyfile("def test_n(measure):\n    assert (measure('many').n, measure('whole').n) == (4, 3)\n")
    laws.runpytest_inprocess("-k", "test_n").assert_outcomes(passed=1)
    assert not (laws.path / "results").exists()


def test_the_table_says_what_failed_and_what_is_missing(laws: pytest.Pytester) -> None:
    soaked(laws, "--soak=1")
    table = markdown_tables(json.loads((laws.path / soak.RESULTS).read_text()))
    lines = [line.strip("| ").split(" | ") for line in table.split("\n") if line.startswith("| ")]
    assert {line[0]: line[2:] for line in lines} == {
        "figure": ["measured", "worst"],
        "---": ["---", "---"],
        r"many \|x\|": ["0 failures in 42 (rate under 0.07)", "–"],
        "worst": ["0 failures in 100 (rate under 0.03)", "0.49 of it"],
        "broken": ["**failed**: 1 failure in 10", "0.5 of it"],
        "raised": ["**failed**: 1 failure in 10", "–"],
        "skipped": ["not run (Skipped: no device)", "–"],
        "whole": ["0 failures in 3", "–"],
        "marked": ["**failed**: 1 failure in 2 of 3 (Skipped: not here)", "–"],
        "nowhere": ["not run", "–"],
    }


@pytest.mark.parametrize("share", ["0", "-1", "nan", "x"])
def test_a_share_is_a_number_above_0(laws: pytest.Pytester, share: str) -> None:
    assert laws.runpytest_inprocess(f"--soak={share}").ret == pytest.ExitCode.USAGE_ERROR


def test_the_readme_shows_the_committed_result() -> None:
    readme, result = TESTS.parent / "README.md", TESTS.parent / soak.RESULTS
    text = readme.read_text(encoding="utf-8")
    found = json.loads(result.read_text(encoding="utf-8")) if result.exists() else {"share": 0}
    if found["share"] < 1:
        pytest.skip("make soak has not been run at its full numbers")
    assert filled(text, {PLACE: markdown_tables(found)}) == text


# ------------------------------------------------------------------ the list
def measured_by(tree: ast.AST) -> Iterator[str]:
    """What ``measure`` and ``measures`` name, as a pattern where a part of the name is a variable."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("measure", "pytest.mark.measures"):
            name = node.args[0]
            parts = name.values if isinstance(name, ast.JoinedStr) else [name]
            yield "".join(re.escape(p.value) if isinstance(p, ast.Constant) else ".+" for p in parts)


def all_measured() -> set[str]:
    files = (path for path in TESTS.rglob("test_*.py") if path != Path(__file__))
    return {name for path in files for name in measured_by(ast.parse(path.read_text(encoding="utf-8")))}


def test_every_row_is_measured_by_a_test() -> None:
    measured = all_measured()
    assert [name for name in BY_NAME if not any(re.fullmatch(p, name) for p in measured)] == []


def test_every_measurement_is_in_the_list() -> None:
    assert [p for p in all_measured() if not any(re.fullmatch(p, name) for name in BY_NAME)] == []


def test_the_search_sees_both_forms_of_names() -> None:
    tree = ast.parse(
        "measure('a (b)')\nmeasure(f'c {d}', parts=2)\nother('e')\n@pytest.mark.measures('g')\ndef h(): 0"
    )
    assert sorted(measured_by(tree)) == [r"a\ \(b\)", r"c\ .+", "g"]


def test_names_are_unique_and_a_smaller_share_has_a_reason() -> None:
    assert len(BY_NAME) == len(ROWS)
    assert [row.name for row in ROWS if not row.whole and row.ordinary < 0.1 and not row.why] == []
