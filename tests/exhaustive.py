"""The ordinary tests at any number of trials, and what they measured: `make soak`.

A test of a property takes its number of trials from the fixture ``measure`` and tells it what it found; where
it is one trial by itself, the mark ``measures(name)`` says so. ``--exhaustive=1`` runs the full numbers of
tests/budgets.py and writes results/reliability.json. What a test counts travels with its report, so that any
number of processes may share the work.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tasks.data.files import write_json_atomically
from tasks.training.provenance import commit, versions
from tests.budgets import BUDGETS, Budget

RESULTS = Path("results", "reliability.json")
MARK = "measures(name): the test is one trial of this budget of tests/budgets.py"
Measure = Callable[..., "Measurement"]


class Measurement:
    """What one test finds about one property.

    Attributes:
        n: how many trials it is to make.
    """

    def __init__(self, name: str, n: int) -> None:
        self.n = n
        self.found: dict[str, Any] = {"name": name, "n": 0, "failures": 0, "worst": None, "facts": {}}

    def add(self, n: int = 1, *, failures: int = 0, worst: float | None = None, **facts: Any) -> None:
        """Count ``n`` trials; ``worst`` is the largest share of the bound, ``facts`` say of what."""
        facts = {name: [value] for name, value in facts.items()}
        _add_up(self.found, {"n": int(n), "failures": int(failures), "worst": worst, "facts": facts})

    def within(self, found: Any, limit: Any, **facts: Any) -> None:
        """Count violations, each beside its limit, and assert that none is larger; NaN is."""
        share = np.atleast_1d(np.asarray(found, np.float64) / np.asarray(limit, np.float64))
        failures = int((~(share <= 1)).sum())
        worst = float(share[np.isfinite(share)].max(initial=0.0))
        self.add(share.size, failures=failures, worst=worst, **facts)
        assert not failures, f"{failures} of {share.size} beyond the limit, {share.max()} of it: {facts}"

    def all(self, passed: Any, **facts: Any) -> None:
        """Count trials that passed or not, and assert that all did."""
        passed = np.atleast_1d(np.asarray(passed, bool))
        failures = int((~passed).sum())
        self.add(passed.size, failures=failures, **facts)
        assert not failures, f"{failures} of {passed.size} fail: {facts}"


def _add_up(sums: dict[str, Any], found: Mapping[str, Any]) -> None:
    """Add to ``sums`` what was found besides; the largest share of a bound, and each fact once."""
    sums["n"] += found["n"]
    sums["failures"] += found["failures"]
    sums["worst"] = max((x for x in (sums["worst"], found["worst"]) if x is not None), default=None)
    for name, values in found["facts"].items():
        known = sums["facts"].setdefault(name, [])
        known += [value for value in values if value not in known]


def add_option(parser: pytest.Parser) -> None:
    """Add ``--exhaustive``."""
    text = f"run the measured tests at SHARE of their full numbers and write {RESULTS}"
    parser.addoption("--exhaustive", type=_share, metavar="SHARE", help=text)


def _share(text: str) -> float:
    share = float(text)
    if not 0 < share < math.inf:
        raise ValueError(f"a share must be above 0, got {text}")
    return share


class Exhaustive:
    """A plugin: gives tests their numbers, and adds up what they found."""

    def __init__(self, config: pytest.Config, budgets: Mapping[str, Budget] = BUDGETS) -> None:
        config.addinivalue_line("markers", MARK)
        self.config, self.budgets = config, budgets
        self.share: float | None = config.getoption("--exhaustive")
        self.started = time.time()
        # As it is now: who edits a file during an hour of tests has not tested the edit.
        self.commit = commit(config.rootpath) if self.share else ""

    @pytest.fixture
    def measure(self, request: pytest.FixtureRequest) -> Measure:
        """``measure(name, parts=1)``: this test makes one of so many parts of a budget's trials."""

        def start(name: str, parts: int = 1) -> Measurement:
            measurement = Measurement(name, -(-self.budgets[name].wanted(self.share) // parts))
            request.node.user_properties.append(("measured", measurement.found))
            return measurement

        return start

    @pytest.hookimpl(tryfirst=True)  # before -k leaves some out
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        trials = [(item, mark.args[0]) for item in items for mark in item.iter_markers("measures")]
        of = Counter(name for _, name in trials)
        for item, name in trials:
            trial = Measurement(self.budgets[name].name, 1)
            trial.add()
            item.user_properties.append(("measured", {**trial.found, "of": of[name]}))
        if self.share is not None:
            measured = [i for i in items if i.user_properties or "measure" in getattr(i, "fixturenames", ())]
            config.hook.pytest_deselected(items=[item for item in items if item not in set(measured)])
            items[:] = measured

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        """Note the time that a test takes of a processor, which does not depend on what else runs."""
        before = sum(os.times()[:4])
        try:
            return (yield)
        finally:
            item.user_properties.append(("seconds", sum(os.times()[:4]) - before))

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.share is None or hasattr(self.config, "workerinput"):
            return
        from scripts.reliability import markdown_tables  # half a second that ordinary runs need not wait

        stats = terminalreporter.stats.values()
        found = self.result([r for reports in stats for r in reports if isinstance(r, pytest.TestReport)])
        path = self.config.rootpath / RESULTS
        if path.exists():
            found = with_earlier(found, json.loads(path.read_text(encoding="utf-8")))
        write_json_atomically(path, found)
        terminalreporter.section(str(RESULTS))
        terminalreporter.write_line(markdown_tables(found))
        total = 0.0
        for row in found["rows"]:
            full = row["seconds"] / (1 if row["whole"] else self.share)
            total += full
            terminalreporter.write_line(f"{row['seconds']:9.1f} s {full:9.1f} s in full  {row['name']}")
        terminalreporter.write_line(f"all in full: {total / 60:.0f} minutes of one processor")

    def result(self, reports: Iterable[pytest.TestReport]) -> dict[str, Any]:
        """What was measured, and on what."""
        assert self.share is not None
        sums: dict[str, dict[str, Any]] = {
            name: {**Measurement(name, 0).found, "seconds": 0.0, "failed": [], "skipped": []}
            for name in self.budgets
        }
        for report in reports:
            for key, found in report.user_properties:
                if key == "measured":
                    _add_report(sums[found["name"]], report, found)
        return {
            "share": self.share,
            "commit": self.commit,
            "versions": versions(),
            "threads": torch.get_num_threads(),
            "processes": self.config.getoption("numprocesses", None) or 1,
            "cores": len(os.sched_getaffinity(0)),
            "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "seconds": round(time.time() - self.started),
            "rows": [_row(budget, sums[budget.name], self.share) for budget in self.budgets.values()],
        }


def with_earlier(found: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """The result with the rows that it left out, as by ``-k``, as they were before, each with its commit."""
    known = {row["name"]: {"commit": before["commit"], **row} for row in before["rows"] if row["n"]}
    left_out = {row["name"] for row in found["rows"] if row["state"] == "not run" and not row["skipped"]}
    rows = [known.get(row["name"], row) if row["name"] in left_out else row for row in found["rows"]]
    share = min(found["share"], before["share"] if known.keys() & left_out else math.inf)
    return {**found, "share": share, "rows": rows}


def _add_report(sums: dict[str, Any], report: pytest.TestReport, found: dict[str, Any]) -> None:
    """Take in what a phase of a test reports; what it measured stands in its call."""
    if report.failed:
        sums["failed"].append(report.nodeid)
    if report.skipped:
        reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr
        sums["skipped"].append(str(reason))
    elif report.when == "call":
        sums["of"] = found.get("of", 0)
        _add_up(sums, {**found, "failures": max(found["failures"], int(report.failed))})
        sums["seconds"] += dict(report.user_properties)["seconds"]


def _row(budget: Budget, sums: dict[str, Any], share: float) -> dict[str, Any]:
    """One row of the result."""
    wanted = max(budget.wanted(share), sums.pop("of", 0))
    state = "not run" if not sums["n"] else "passed" if sums["n"] >= wanted else "short"
    if sums["failed"] or sums["failures"]:
        state = "failed"
    sums["facts"] = {name: sorted(values, key=str) for name, values in sums["facts"].items()}
    sums |= {"seconds": round(sums["seconds"], 1), "skipped": sorted(set(sums["skipped"]))}
    described = {key: getattr(budget, key) for key in ("name", "table", "what", "target", "whole")}
    return {**described, "wanted": wanted, "state": state, **sums}
