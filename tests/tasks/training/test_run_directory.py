"""One process at a time in a run directory, whose log continues where its checkpoint was saved."""

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tasks.training.run_directory import MetricsLog, RunDirectory, RunInUseError

ROOT = Path(__file__).parents[3]
HOLD = """
import sys
from pathlib import Path
from tasks.training.run_directory import RunDirectory, RunInUseError
try:
    with RunDirectory(Path(sys.argv[1])):
        print("holding", flush=True)
        sys.stdin.read()
except RunInUseError as error:
    sys.exit(str(error))
"""


def start(path: Path) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", HOLD, str(path)]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=ROOT)


def test_a_second_process_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run"
    with RunDirectory(path) as run:
        assert run.is_locked
        second = start(path)
        _, message = second.communicate()
        assert second.returncode == 1
        assert message.strip() == (
            f"{path} is in use by process {os.getpid()} on {socket.gethostname()}; wait for it or end it"
        )
    assert not run.is_locked


def test_of_processes_that_start_together_one_gets_in(tmp_path: Path) -> None:
    processes = [start(tmp_path) for _ in range(6)]
    # A loser ends by itself, so that all but one have ended when five have.
    holders = [
        process for process in processes if process.stdout and process.stdout.readline() == "holding\n"
    ]
    assert len(holders) == 1
    for process in processes:
        _, message = process.communicate()
        if process not in holders:
            assert f"in use by process {holders[0].pid} on {socket.gethostname()}" in message


def test_the_name_of_a_killed_process_is_not_the_holders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "run.lock"
    with RunDirectory(tmp_path):
        lock.write_text("process 1 on a machine that is gone\n")
        # The holder writes its own name while the other one waits.
        monkeypatch.setattr(
            "tasks.training.run_directory.time.sleep", lambda _: lock.write_text("process 2 on here\n")
        )
        with pytest.raises(RunInUseError, match="in use by process 2 on here"), RunDirectory(tmp_path):
            pass


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    process = start(tmp_path)
    assert process.stdout is not None and process.stdout.readline() == "holding\n"
    process.kill()
    process.wait()
    assert str(process.pid) in (tmp_path / "run.lock").read_text()
    with RunDirectory(tmp_path) as run:
        opened = run.lock.open()
    with RunDirectory(tmp_path), opened:
        assert os.path.samestat(os.fstat(opened.fileno()), run.lock.stat()), "two files would have two locks"


def test_the_same_process_is_refused_too(tmp_path: Path) -> None:
    with RunDirectory(tmp_path), pytest.raises(RunInUseError, match=str(os.getpid())), RunDirectory(tmp_path):
        pass


def test_a_file_in_its_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(FileExistsError), RunDirectory(tmp_path / "run"):
        pass


@pytest.mark.parametrize("operation", ["tasks.training.run_directory.lock_descriptor", "os.pwrite"])
def test_a_lock_that_cannot_be_taken_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """By a file system without locks, or with no room for the holder's name."""

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    with monkeypatch.context() as patch, pytest.raises(OSError, match=r"No locks available.*run\.lock"):
        patch.setattr(operation, refuse)
        with RunDirectory(tmp_path):
            pass
    with RunDirectory(tmp_path) as run:
        run.check()


def test_its_files_lie_in_it(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    names = [file.name for file in (run.checkpoint, run.metrics, run.config, run.vocabulary)]
    assert names == ["checkpoint.ckpt", "metrics.jsonl", "config.json", "vocabulary.json"]


# ------------------------------------------------------------------ the metrics log
def test_lines_after_the_position_are_taken_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path) as log:
        log.write("step", step=1, loss=0.1)
        position = log.sync()
        log.write("step", step=2, loss=0.2)
        assert path.read_bytes().count(b"\n") == 2
    with open(path, "ab") as file:
        file.write(b'{"event": "st')
    with MetricsLog(path, position) as log:
        log.write("step", step=2, loss=0.3)
        assert log.sync() == path.stat().st_size
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(1, 0.1), (2, 0.3)]


def test_a_run_without_a_checkpoint_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("old\n")
    with MetricsLog(path):
        assert path.read_text() == ""


def test_a_log_that_lost_lines_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("{}\n")
    with pytest.raises(
        ValueError, match=r"metrics\.jsonl must hold the checkpoint's 10 bytes at least, got 3"
    ):
        MetricsLog(path, 10)
    assert path.read_text() == "{}\n"


def test_what_the_checkpoint_knows_of_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    with MetricsLog(tmp_path / "metrics.jsonl") as log:
        log.sync()
        assert synced == [log._file.fileno()]


def write_half(line: bytes) -> int:
    return len(line) // 2


def write_nothing(line: bytes) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("write", [write_half, write_nothing])
def test_a_full_disk_is_an_error_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[bytes], int]
) -> None:
    with MetricsLog(tmp_path / "metrics.jsonl") as log:
        monkeypatch.setattr(log, "_file", SimpleNamespace(write=write, close=log._file.close))
        with pytest.raises(OSError, match=r"No space left on device: .*metrics\.jsonl"):
            log.write("step", step=1)


def test_nan_is_no_json(tmp_path: Path) -> None:
    with MetricsLog(tmp_path / "metrics.jsonl") as log, pytest.raises(ValueError, match="JSON"):
        log.write("step", loss=float("nan"))


def test_links_and_pipes_in_a_run_directory_are_left_alone(tmp_path: Path) -> None:
    precious, run = tmp_path / "precious", tmp_path / "run"
    precious.write_text("as it was")
    run.mkdir()
    for name in ("run.lock", "metrics.jsonl"):
        for make in (lambda path: path.symlink_to(precious), os.mkfifo, Path.mkdir):
            make(run / name)
            wanted = f"{name}.* must be a file, got|Is a directory"
            with pytest.raises(OSError, match=wanted), RunDirectory(run) as entered:
                MetricsLog(entered.metrics)
            (run / name).rmdir() if (run / name).is_dir() else (run / name).unlink()
    assert precious.read_text() == "as it was"


def test_the_lock_of_another_user_is_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose file may be read and not written."""
    own = os.open

    def denied(path: object, flags: int, *mode: int) -> int:
        if str(path).endswith("run.lock") and flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return own(path, flags, *mode)  # type: ignore[arg-type]

    with RunDirectory(tmp_path):
        monkeypatch.setattr(os, "open", denied)
        wanted = f"in use by process {os.getpid()} on .*, of another user"
        with pytest.raises(RunInUseError, match=wanted), RunDirectory(tmp_path):
            pass
        monkeypatch.undo()
    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(PermissionError), RunDirectory(tmp_path):
        pass
