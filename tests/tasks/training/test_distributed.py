"""Two processes do together what one does alone, and stop, fail and continue as one."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from several_processes import PlainTask
from tiny_run import outcome, train
from torch.distributed import TCPStore

from tasks.training.distributed import local_device
from tasks.training.state import ResumeError

ROOT = Path(__file__).parents[3]
SCRIPT = Path(__file__).with_name("several_processes.py")
TOGETHER = ("equal", "stopped", "not_finite", "failed", "in_use", "unused", "dies")


def start(folder: Path, store: TCPStore, *scenes: str) -> list[subprocess.Popen[bytes]]:
    """As torchrun does, whose store has a port already when it starts its processes."""
    shared = {
        **os.environ, "PYTHONPATH": f"{ROOT}:{SCRIPT.parent}", "OMP_NUM_THREADS": "1", "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0",
    }  # fmt: skip
    return [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder), *scenes], env={**shared, "RANK": str(rank)}
        )
        for rank in range(2)
    ]


def wait(processes: list[subprocess.Popen[bytes]]) -> list[int]:
    try:
        return [process.wait() for process in processes]
    finally:
        for process in processes:
            process.kill()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes have played the scenes."""
    folder = tmp_path_factory.mktemp("together")
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    assert wait(start(folder, store, *TOGETHER)) == [0, -signal.SIGKILL]
    return folder


def seen(folder: Path, scene: str) -> list[Any]:
    return [json.loads((folder / f"{scene}.{rank}.json").read_text()) for rank in range(2)]


def test_two_processes_train_as_one(folder: Path, tmp_path: Path) -> None:
    alone = outcome(tmp_path, *train(tmp_path, task=PlainTask()))
    first, second = seen(folder, "equal")
    assert first == second
    logs = [[line for line in each["log"] if line["event"] != "attention"] for each in (first, alone)]
    assert len(logs[0]) == 30  # of attention, one process sees its own share of the rows
    for together, line in zip(*logs, strict=True):
        assert together.keys() == line.keys()
        assert together["loss"] == pytest.approx(line["loss"], abs=1e-5)
        same = together.keys() - {"loss", "dev", "attention"}
        assert {key: together[key] for key in same} == {key: line[key] for key in same}
    for name, weights in alone["weights"].items():
        torch.testing.assert_close(
            torch.tensor(first["weights"][name]), torch.tensor(weights), atol=1e-5, rtol=0
        )


def test_a_signal_to_one_stops_both_and_resume_is_exact(folder: Path) -> None:
    first, second = seen(folder, "stopped")
    assert first["said"] == second["said"]
    assert first["said"].startswith("Preempted: SIGUSR1 stopped the run at step 11")
    assert first["files"] == ["checkpoint.ckpt", "checkpoint.ckpt.previous", "metrics.jsonl", "run.lock"]
    assert first["notes"] == second["notes"] == ["resumed at step 11"]
    assert first["is the same"] and second["is the same"]
    assert first["draws"] != second["draws"]


def test_nan_in_one_stops_both_before_the_update(folder: Path) -> None:
    first, second = seen(folder, "not_finite")
    batch = ", ".join(map(str, PlainTask().train_batches(2)[3]))
    assert first == second
    assert first["said"].startswith("NonFiniteError: the loss must be finite, got nan at step 13 (epoch 2)")
    assert f"on pairs {batch};" in first["said"]
    weights = [
        entry for values in first["weights"].values() for entry in torch.tensor(values).flatten().tolist()
    ]
    assert all(value == value for value in weights)


def test_a_failure_of_one_is_the_failure_of_both(folder: Path) -> None:
    assert seen(folder, "failed") == ["ProcessError: process 1 failed: ValueError: no such word",
                                      "ValueError: no such word"]  # fmt: skip


def test_a_directory_in_use_stops_both(folder: Path) -> None:
    first, second = seen(folder, "in_use")
    assert first.startswith("RunInUseError: ") and second == f"ProcessError: process 0 failed: {first}"


def test_gradients_are_weighted_and_none_stays_none(folder: Path) -> None:
    assert seen(folder, "unused") == [[[1.75, 1.75], [0.75, 0.75], None]] * 2


def test_another_number_of_processes_is_refused(folder: Path) -> None:
    with pytest.raises(ResumeError, match="must be continued by its 2 processes, got 1"):
        train(folder / "stopped" / "parts")


def test_the_end_of_one_is_noticed_by_the_other(folder: Path) -> None:
    said = json.loads((folder / "dies.0.json").read_text())
    assert said.startswith("ProcessError: another process of this training has ended: ")


@pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="the system does not list a process's threads"
)
def test_no_thread_of_the_group_outlives_it(folder: Path) -> None:
    """One that does may abort the process at its end, when Python is gone."""
    names = json.loads((folder / "threads.0.json").read_text())
    assert names and not [name for name in names if "gloo" in name]


def test_every_process_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert local_device("cuda") == torch.device("cuda")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert local_device("cuda") == torch.device("cuda", 1) and local_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="a CUDA device for itself, got 1 for process 1"):
        local_device("cuda")
