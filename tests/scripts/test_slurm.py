"""The sbatch examples, under stand-ins for SLURM's own commands alone: the trainings in them are real."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.training.records import read_records

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "docs/slurm").glob("*.sbatch"))
TINY = [
    "task=snli", "attention=fusedmax", "data.train=96", "data.dev=30", "data.test=30", "trainer.epochs=60",
    "trainer.threads=1", "task.hidden_size=8", "progress=false", "trainer.device=cpu",
]  # fmt: skip
COMMANDS = {
    "bin/scontrol": 'echo "$@" >> scontrol.log; [ "$1" != show ] || echo 127.0.0.1',
    # As srun does: options of its own first, and what it is told it tells its task.
    "bin/srun": 'shift; exec "$@"',
    ".venv/bin/python": f'exec {sys.executable} "$@"',
    ".venv/bin/torchrun": f'exec {sys.executable} -m torch.distributed.run "$@"',
}
SLURM = {
    "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "here", "SLURM_JOB_NUM_NODES": "1", "SLURM_GPUS_ON_NODE": "2",
    "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2", "SLURM_CPUS_PER_TASK": "1",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, body in COMMANDS.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)
    return tmp_path


def start(folder: Path, script: str, *arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **SLURM, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{folder / 'bin'}:{environment['PATH']}"
    command = ["bash", str(ROOT / "docs/slurm" / script), *arguments, *TINY]
    return subprocess.Popen(command, cwd=folder, env=environment)


def test_there_are_two() -> None:
    assert [path.name for path in SCRIPTS] == ["sweep.sbatch", "train.sbatch"]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_shell_reads_it(path: Path) -> None:
    subprocess.run(["bash", "-n", path], check=True)


@pytest.mark.parametrize(
    ("script", "arguments", "job", "results"),
    [("sweep.sbatch", ["l2"], "7_2", "results/sweeps/runs"), ("train.sbatch", [], "7", "results/runs")],
)
def test_it_is_put_back_into_the_queue_and_ends_there(
    folder: Path, script: str, arguments: list[str], job: str, results: str
) -> None:
    with start(folder, script, *arguments) as first:
        while first.poll() is None and not [
            path for path in folder.glob("runs/*/metrics.jsonl") if path.stat().st_size
        ]:
            time.sleep(0.02)
        first.send_signal(signal.SIGUSR1)
    assert first.returncode == 75
    assert (folder / "scontrol.log").read_text().split("\n")[-2] == f"requeue {job}"
    assert list(folder.glob("runs/*/checkpoint.ckpt")) and not (folder / results).exists()
    with start(folder, script, *arguments) as second:
        pass
    assert second.returncode == 0
    record = read_records(folder / results)[0]
    if script == "sweep.sbatch":
        assert record.config["optim"]["weight_decay"] == 0.0003
