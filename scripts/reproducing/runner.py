"""Runs jobs side by side, each in its own process, until all are done or somebody wants a stop."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from scripts.children import STOPPED, last_line
from scripts.reports import report_of
from scripts.reproducing.jobs import Job
from scripts.reproducing.plan import record_of
from scripts.reproducing.worker import preload, train_in_child
from tasks.training.callbacks import format_duration
from tasks.training.records import Record
from tasks.training.signals import Preempted, catch_stop_signals

# A fork has the imports already; elsewhere than on Linux it is not safe with the libraries at hand.
_Process: type[BaseProcess] = (
    get_context("fork").Process if sys.platform == "linux" else get_context("spawn").Process
)
_GLANCE = 0.5  # seconds between looks at whether somebody wants a stop
_REMINDER = 5.0  # seconds between requests to end


@dataclass(frozen=True)
class Failure:
    """A job that ended without a record.

    Args:
        job: the run.
        reason: the last line of its log, or how its process ended.
        log: the file.
    """

    job: Job
    reason: str
    log: Path


@dataclass(frozen=True)
class _Worker:
    job: Job
    process: BaseProcess
    begun: float

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun


def run_jobs(jobs: Sequence[Job], at_once: int, threads: int) -> list[Failure]:
    """Run the jobs in this order and return those that failed; one that was preempted is tried again.

    Args:
        jobs: none of which is done.
        at_once: how many processes.
        threads: CPU threads of each.

    Raises:
        Preempted: this process was asked to stop; its children have saved and ended.
    """
    waiting, failures, ended = deque(jobs), [], 0
    if jobs:
        preload()
    with catch_stop_signals() as request, _workers() as working:
        while waiting or working:
            if request.signal:
                raise Preempted(f"got {request.signal}; {len(jobs) - ended} runs are left")
            while waiting and len(working) < at_once:
                working.append(_begin(waiting.popleft(), threads))
            wait([worker.process.sentinel for worker in working], timeout=_GLANCE)
            for worker in [worker for worker in working if not worker.process.is_alive()]:
                working.remove(worker)
                if worker.process.exitcode in STOPPED:
                    waiting.append(worker.job)
                    print(f"        {worker.job.name} was asked to stop and waits for its turn", flush=True)
                    continue
                ended += 1
                failures += _end(worker, f"{ended}/{len(jobs)}".rjust(7))
    return failures


@contextmanager
def _workers() -> Iterator[list[_Worker]]:
    """Processes that end with the block: asked to, they save what they have."""
    working: list[_Worker] = []
    try:
        yield working
    finally:
        while alive := [worker.process for worker in working if worker.process.is_alive()]:
            for process in alive:
                process.terminate()
            wait([process.sentinel for process in alive], timeout=_REMINDER)


def log_of(job: Job) -> Path:
    """Where the output of a job goes."""
    return Path(job.config["output_dir"]) / "logs" / f"{job.name}.log"


def _begin(job: Job, threads: int) -> _Worker:
    print(f"  start {job.name}", flush=True)
    arguments = (job.overrides, log_of(job), threads, os.getpid())
    process = _Process(target=train_in_child, args=arguments, name=job.name)
    process.start()
    return _Worker(job, process, time.monotonic())


def _end(worker: _Worker, count: str) -> list[Failure]:
    job, exit_code = worker.job, worker.process.exitcode
    record = record_of(job) if exit_code == 0 else None
    if record is not None:
        print(f"{count} {job.name}  {format_duration(worker.seconds)}  {headline(record)}", flush=True)
        return []
    reason = last_line(log_of(job)) if exit_code and exit_code > 0 else f"ended with {exit_code}, no record"
    print(f"{count} {job.name}  {format_duration(worker.seconds)}  FAILED: {reason}", flush=True)
    return [Failure(job, reason, log_of(job))]


def headline(record: Record) -> str:
    """The figure that a record is looked at for, of its first test set."""
    split = record.test_splits[0]
    shown = report_of(record).headline
    label = shown.label.removesuffix(", greedy")  # as on dev
    return f"{split} {label} {record.metrics[split][shown.metric] * shown.scale:.2f}"


def tell(failures: Sequence[Failure]) -> str:
    """What failed, why, and how to run it again; one paragraph."""
    lines = [f"{len(failures)} failed; each again:"]
    for failure in failures:
        lines += [f"  {failure.job.command}", f"    {failure.reason}", f"    {shlex.quote(str(failure.log))}"]
    return "\n".join(lines)
