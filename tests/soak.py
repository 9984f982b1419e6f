"""The ordinary tests at any number of trials, and what they measured: `make soak`.

A law is a test like any other. It takes its number of trials from the fixture ``measure`` and tells it what
it found; where it is one trial by itself, the mark ``measures(row)`` says so. ``--soak=1`` runs the full
numbers and writes results/reliability.json. What a test counts travels with its report, so that any number of
processes may share the work.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tasks.training.atomic import write_json_atomically
from tasks.training.provenance import commit, versions
from tests.soak_rows import BY_NAME, Row

RESULTS = Path("results", "reliability.json")
MARK = "measures(row): the test is one trial of this row of tests/soak_rows.py"
Measure = Callable[..., "Measurement"]


class Measurement:
    """What one test finds about one row.

    Attributes:
        n: how many trials it is to make.
    """

    def __init__(self, row: Row, n: int) -> None:
        self.n = n
        self.found: dict[str, Any] = {"row": row.name, "n": 0, "failures": 0, "worst": None, "facts": {}}

    def add(self, n: int = 1, *, failures: int = 0, worst: float | None = None, **facts: Any) -> None:
        """Count ``n`` trials; ``worst`` is the largest share of the bound, ``facts`` say of what."""
        self.found["n"] += int(n)
        self.found["failures"] += int(failures)
        if worst is not None:
            self.found["worst"] = max(float(worst), self.found["worst"] or 0.0)
        for name, value in facts.items():
            values = self.found["facts"].setdefault(name, [])
            values += [value] if value not in values else []

    def within(self, found: Any, limit: Any, **facts: Any) -> None:
        """Count violations, each beside its limit, and assert that none is larger; NaN is."""
        share = np.atleast_1d(np.asarray(found, np.float64) / np.asarray(limit, np.float64))
        failures = int((~(share <= 1)).sum())
        finite = share[np.isfinite(share)]
        self.add(share.size, failures=failures, worst=finite.max(initial=0.0), **facts)
        assert not failures, f"{failures} of {share.size} beyond the limit, {share.max()} of it: {facts}"

    def all(self, passed: Any, **facts: Any) -> None:
        """Count trials that passed or not, and assert that all did."""
        passed = np.atleast_1d(np.asarray(passed, bool))
        failures = int((~passed).sum())
        self.add(passed.size, failures=failures, **facts)
        assert not failures, f"{failures} of {passed.size} fail: {facts}"


def add_option(parser: pytest.Parser) -> None:
    """Add ``--soak``."""
    text = f"run the measured laws at SHARE of their full numbers and write {RESULTS}"
    parser.addoption("--soak", type=_share, metavar="SHARE", help=text)


def _share(text: str) -> float:
    share = float(text)
    if not 0 < share < math.inf:
        raise ValueError(f"a share must be above 0, got {text}")
    return share


class Soak:
    """A plugin: gives tests their numbers, and adds up what they found."""

    def __init__(self, config: pytest.Config, rows: Mapping[str, Row] = BY_NAME) -> None:
        config.addinivalue_line("markers", MARK)
        self.config, self.rows = config, rows
        self.share: float | None = config.getoption("--soak")
        self.tally = Tally(rows.values())
        self.started = time.time()
        # As it is now: who edits a file during an hour of tests has not tested the edit.
        self.commit = commit(config.rootpath) if self.share else ""

    @pytest.fixture
    def measure(self, request: pytest.FixtureRequest) -> Measure:
        """``measure(row, parts=1)``: this test makes one of so many parts of a row of soak_rows.py."""

        def start(row: str, parts: int = 1) -> Measurement:
            wanted = self.rows[row].wanted(self.share)
            measurement = Measurement(self.rows[row], -(-wanted // parts))
            request.node.user_properties.append(("measured", measurement.found))
            return measurement

        return start

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        for item in items:
            for mark in item.iter_markers("measures"):
                one = Measurement(self.rows[mark.args[0]], 1)
                one.add()
                item.user_properties.append(("measured", one.found))
        if self.share is None:
            return
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

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.tally.add(report)

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.share is None or hasattr(self.config, "workerinput"):
            return
        from scripts.reliability import markdown_tables  # half a second that ordinary runs need not wait

        found = self.result()
        write_json_atomically(self.config.rootpath / RESULTS, found)
        terminalreporter.section(str(RESULTS))
        terminalreporter.write_line(markdown_tables(found))
        terminalreporter.write_line(_times(found))

    def result(self) -> dict[str, Any]:
        """What was measured, and on what."""
        assert self.share is not None
        return {
            "share": self.share,
            "commit": self.commit,
            "versions": versions(),
            "threads": torch.get_num_threads(),
            "processes": self.config.getoption("numprocesses", None) or 1,
            "cores": len(os.sched_getaffinity(0)),
            "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "seconds": round(time.time() - self.started),
            "rows": [self.tally.shown(row, self.share) for row in self.rows.values()],
        }


class Tally:
    """Sums over tests."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.sums = {row.name: _nothing() for row in rows}

    def add(self, report: pytest.TestReport) -> None:
        """Take in what a phase of a test reports; what it measured stands in its call."""
        for name, found in report.user_properties:
            if name == "measured":
                self._add(report, found)

    def _add(self, report: pytest.TestReport, found: dict[str, Any]) -> None:
        sums = self.sums[found["row"]]
        if report.failed:
            sums["failed"].append(report.nodeid)
        if report.skipped:
            sums["skipped"].append(_reason(report))
        elif report.when == "call":
            self._sum(report, found, sums)

    def _sum(self, report: pytest.TestReport, found: dict[str, Any], sums: dict[str, Any]) -> None:
        sums["n"] += found["n"]
        sums["failures"] += max(found["failures"], int(report.failed))
        if found["worst"] is not None:
            sums["worst"] = max(found["worst"], sums["worst"] or 0.0)
        sums["seconds"] += dict(report.user_properties)["seconds"]
        for name, values in found["facts"].items():
            known = sums["facts"].setdefault(name, [])
            known += [value for value in values if value not in known]

    def shown(self, row: Row, share: float) -> dict[str, Any]:
        """One row of the result."""
        sums = self.sums[row.name]
        wanted = row.wanted(share)
        state = "passed" if sums["n"] >= wanted else "short" if sums["n"] else "not run"
        if sums["failed"] or sums["failures"]:
            state = "failed"
        facts = {name: sorted(values, key=str) for name, values in sums["facts"].items()}
        static = {"name": row.name, "table": row.table, "what": row.what, "target": row.target}
        return {
            **static, "wanted": wanted, "state": state, **sums, "facts": facts,
            "seconds": round(sums["seconds"], 1), "whole": row.whole,
            "skipped": sorted(set(sums["skipped"])),
        }  # fmt: skip


def _nothing() -> dict[str, Any]:
    return {"n": 0, "failures": 0, "worst": None, "seconds": 0.0, "facts": {}, "failed": [], "skipped": []}


def _reason(report: pytest.TestReport) -> str:
    return str(report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr)


def _times(found: dict[str, Any]) -> str:
    """Seconds of one processor for each row, and what the full numbers would take."""
    lines, total = [], 0.0
    for row in found["rows"]:
        full = row["seconds"] / (1 if row["whole"] else found["share"])
        total += full
        lines.append(f"{row['seconds']:9.1f} s {full:9.1f} s in full  {row['name']}")
    return "\n".join([*lines, f"all in full: {total / 60:.0f} minutes of one processor"])
