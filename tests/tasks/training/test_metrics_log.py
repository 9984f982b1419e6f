"""The log continues from the checkpoint's position, and never invents what it lost."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tasks.training.run_directory import MetricsLog


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
