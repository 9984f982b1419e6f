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
from scripts.reliability import PAGE, PLACE, markdown_tables
from tests import exhaustive
from tests.budgets import BUDGETS, TABLES, Budget

pytest_plugins = ["pytester"]
TESTS = Path(__file__).parent
FEW = [
    Budget("many", "many |x|", "all", 40, table="A"),
    Budget("worst", "worst", "at most 1", 100, table="A"),
    Budget("broken", "broken", "all", 10, table="A"),
    Budget("raised", "raised", "all", 10, table="A"),
    Budget("skipped", "skipped", "all", 10, table="B"),
    Budget("whole", "whole", "all", 3, whole=True, table="B"),
    Budget("marked", "marked", "all", 0, whole=True, table="B"),
    Budget("nowhere", "nowhere", "all", 10, table="B"),
]
PROPERTIES = """
import pytest

@pytest.mark.parametrize("part", range(3))
def test_many(measure, part):
    property = measure("many", parts=3)
    property.all([True] * property.n, part=part)

def test_worst(measure):
    property = measure("worst")
    for k in range(property.n):
        property.within(k, 200, seed=1)

def test_broken(measure):
    property = measure("broken")
    property.within([0.5] * (property.n - 1) + [float("nan")], 1.0)

def test_raised(measure):
    property = measure("raised")
    property.add(property.n)
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
def folder(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setattr(exhaustive, "BUDGETS", {budget.name: budget for budget in FEW})
    pytester.makepyfile(PROPERTIES)
    pytester.makeconftest(
        "from tests import exhaustive as e\n"
        "def pytest_addoption(parser): e.add_option(parser)\n"
        "def pytest_configure(config): config.pluginmanager.register(e.Exhaustive(config, e.BUDGETS))\n"
    )
    return pytester


def result(folder: pytest.Pytester, *arguments: str) -> dict[str, Any]:
    folder.runpytest_inprocess("-p", "no:cacheprovider", *arguments)
    return json.loads((folder.path / exhaustive.RESULTS).read_text())


@pytest.mark.parametrize("share", [1, 0.5])
def test_what_tests_measure_is_added_up(folder: pytest.Pytester, share: float) -> None:
    rows = {row["name"]: row for row in result(folder, f"--exhaustive={share}")["rows"]}
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


def test_a_part_that_is_left_out_makes_a_row_short(folder: pytest.Pytester) -> None:
    rows = {row["name"]: row for row in result(folder, "--exhaustive=1", "-k", "0 or worst")["rows"]}
    assert [rows[name]["state"] for name in ("many", "whole", "worst")] == ["short", "short", "passed"]
    assert (rows["many"]["n"], rows["whole"]["n"]) == (14, 1)


def test_a_part_keeps_the_rows_that_it_leaves_out(folder: pytest.Pytester) -> None:
    whole = result(folder, "--exhaustive=1")
    path = folder.path / exhaustive.RESULTS
    path.write_text(json.dumps({**whole, "commit": "a" * 40, "share": 0.5}))
    found = result(folder, "--exhaustive=1", "-k", "worst or skipped")
    assert {row["name"] for row in found["rows"] if row.get("commit") == "a" * 40} == {
        "many", "broken", "raised", "whole", "marked",
    }  # fmt: skip
    assert [row["n"] for row in found["rows"]] == [row["n"] for row in whole["rows"]]
    assert found["share"] == 0.5, "some rows are of half of the full numbers"
    assert f"commit {found['commit'][:12]}, 5 rows of aaaaaaaaaaaa." in markdown_tables(found)


def test_an_ordinary_run_takes_its_share_and_writes_nothing(folder: pytest.Pytester) -> None:
    folder.makepyfile("def test_n(measure):\n    assert (measure('many').n, measure('whole').n) == (4, 3)\n")
    folder.runpytest_inprocess("-k", "test_n").assert_outcomes(passed=1)
    assert not (folder.path / "results").exists()


def test_table_says_what_failed_and_what_is_missing(folder: pytest.Pytester) -> None:
    table = markdown_tables(result(folder, "--exhaustive=1"))
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


def test_share_is_a_number_above_0(folder: pytest.Pytester) -> None:
    for share in ("0", "-1", "nan", "x"):
        assert folder.runpytest_inprocess(f"--exhaustive={share}").ret == pytest.ExitCode.USAGE_ERROR


def test_the_page_shows_the_committed_result() -> None:
    path = TESTS.parent / exhaustive.RESULTS
    text = (TESTS.parent / PAGE).read_text(encoding="utf-8")
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"share": 0}
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


def test_budgets_are_those_that_tests_measure() -> None:
    files = [path for path in TESTS.rglob("test_*.py") if path != Path(__file__)]
    patterns = {name for path in files for name in measured_by(ast.parse(path.read_text(encoding="utf-8")))}
    assert not [name for name in BUDGETS if not any(re.fullmatch(p, name) for p in patterns)]
    assert not [p for p in patterns if not any(re.fullmatch(p, name) for name in BUDGETS)]


def test_search_sees_both_forms_of_names() -> None:
    tree = ast.parse(
        "measure('a (b)')\nmeasure(f'c {d}', parts=2)\nother('e')\n@pytest.mark.measures('g')\ndef h(): 0"
    )
    assert sorted(measured_by(tree)) == [r"a\ \(b\)", r"c\ .+", "g"]


def test_names_are_unique_and_small_shares_have_reasons() -> None:
    assert len(BUDGETS) == sum(map(len, TABLES.values()))
    assert not [b.name for b in BUDGETS.values() if not b.whole and b.ordinary < 0.1 and not b.why]
