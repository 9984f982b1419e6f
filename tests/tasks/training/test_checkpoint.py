"""The checkpoint file: what goes in comes out, damage never does, and an interrupted save loses nothing."""

import errno
import itertools
import os
import pickle
import random
import resource
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from faulty_disk import FaultyDisk, Killed, KillingDisk
from forked import Child, needs_fork

from tasks.training import checkpoint
from tasks.training.checkpoint import CheckpointError, DamagedCheckpoint, load, load_latest, save

TENSORS = {
    "weight": torch.arange(6.0).reshape(2, 3).t(),
    "half": torch.tensor([1.5, -0.0], dtype=torch.bfloat16),
    "count": torch.tensor(7),
    "bytes": torch.arange(256, dtype=torch.uint8),
    "empty": torch.empty(0, 4),
}


def save_number(path: Path, number: int) -> None:
    save(path, {"number": torch.full((50,), float(number))}, {"number": number})


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.cpu(), b)


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.ckpt"
    tied = {**TENSORS, "tied": TENSORS["bytes"]}
    save(path, tied, {"step": 3, "text": "λ\u2028", "share": 0.1})
    found = load(path)
    assert found.tensors.keys() == tied.keys()
    assert all(same_bits(tensor, found.tensors[name]) for name, tensor in tied.items())
    assert found.state == {"step": 3, "text": "λ\u2028", "share": 0.1} and found.note is None


def damages(content: bytes, n: int) -> Iterator[bytes]:
    """Cuts, zeroed stretches and flipped bits, one at least in every byte of the first line."""
    chosen, first = random.Random(0), content.index(b"\n") + 1
    cuts = [0, 1, first - 1, first, len(content) - 1]
    yield from (content[:cut] for cut in [*cuts, *(chosen.randrange(len(content)) for _ in range(n // 5))])
    yield bytes(len(content))
    yield content + b"\0"
    yield from (flipped(content, 8 * byte + chosen.randrange(8)) for byte in range(first))
    for _ in range(n // 5):
        start = chosen.randrange(len(content) - 40)
        yield content[:start] + bytes(40) + content[start + 40 :]
    while True:
        yield flipped(content, chosen.randrange(8 * len(content)))


def flipped(content: bytes, bit: int) -> bytes:
    altered = bytearray(content)
    altered[bit // 8] ^= 1 << bit % 8
    return bytes(altered)


def test_damage_is_refused_and_the_previous_used(tmp_path: Path, measure: Any) -> None:
    path, row = tmp_path / "checkpoint.ckpt", measure("damaged checkpoint")
    save_number(path, 1)
    save(path, TENSORS, {"number": 2})
    whole = path.read_bytes()
    altered = (content for content in damages(whole, row.n) if content != whole)
    for content in itertools.islice(altered, row.n):
        path.write_bytes(content)
        latest = load_latest(path)
        note = latest.note or ""
        is_named = note.startswith(f"{path} is damaged")
        is_named &= note.endswith("checkpoint.ckpt.previous was used in its place")
        row.all(is_named and latest.state == {"number": 1})


@pytest.mark.measures("bad checkpoint")
def test_two_damaged_files_name_both(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.ckpt"
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"checkpoint\.ckpt is damaged"):
        load_latest(path)
    checkpoint.previous_of(path).write_bytes(b"zip\0")
    with pytest.raises(CheckpointError, match=r"\.ckpt is damaged.*and neither.*\.ckpt\.previous is damaged"):
        load_latest(path)


@pytest.mark.measures("bad checkpoint")
def test_a_newer_format_is_refused_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.ckpt"
    save_number(path, 1)
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    save_number(path, 2)
    monkeypatch.undo()
    # The older file must not step in: going back to it in silence would lose what is there.
    with pytest.raises(
        CheckpointError, match=r"checkpoint\.ckpt must have checkpoint format 1, got format 2"
    ):
        load_latest(path)


@pytest.mark.measures("bad checkpoint")
def test_a_directory_and_an_unreadable_file_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CheckpointError, match=f"cannot read {tmp_path}: Is a directory"):
        load(tmp_path)
    with pytest.raises(DamagedCheckpoint, match=r"nothing\.ckpt is missing"):
        load(tmp_path / "nothing.ckpt")

    def refuse(*arguments: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(checkpoint, "open", refuse, raising=False)
    with pytest.raises(CheckpointError, match=r"cannot read .*any\.ckpt: Permission denied"):
        load(tmp_path / "any.ckpt")


def test_a_pickle_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.ckpt"
    torch.save({"weight": torch.ones(2)}, path)
    with pytest.raises(DamagedCheckpoint, match="is damaged or no checkpoint"):
        load(path)


@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), Killed()])
@pytest.mark.parametrize("at", range(1, 7))
@pytest.mark.measures("interrupted save")
def test_an_interrupted_save_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, error: BaseException, is_late: bool
) -> None:
    path = tmp_path / "checkpoint.ckpt"
    save_number(path, 1)
    save_number(path, 2)
    with monkeypatch.context() as patch:
        disk = FaultyDisk(patch, at, error, is_late)
        try:
            save_number(path, 3)
        except (CheckpointError, Killed) as caught:
            is_failed = True
            assert isinstance(caught, Killed) or f"cannot save {path}: No space left on device" in str(caught)
        else:
            is_failed = False
    # Five operations make a save, so that the sixth never comes.
    assert is_failed == (at <= 5) and disk.calls == min(at, 5)
    assert checkpoint.exists(path)
    assert load_latest(path).state["number"] in (2, 3)
    (tmp_path / "checkpoint.ckpt.1.tmp").write_bytes(b"left by a process that was killed")
    save_number(path, 4)
    assert load(path).state["number"] == 4
    assert {file.name for file in tmp_path.iterdir()} <= {"checkpoint.ckpt", "checkpoint.ckpt.previous"}


def save_and_die(path: Path, at: int, is_late: bool) -> None:
    KillingDisk(pytest.MonkeyPatch(), at, Killed(), is_late)
    save_number(path, 3)


@needs_fork
@pytest.mark.measures("interrupted save")
@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("at", range(1, 6))
def test_a_killed_save_loses_nothing(tmp_path: Path, at: int, is_late: bool) -> None:
    path = tmp_path / "checkpoint.ckpt"
    save_number(path, 1)
    save_number(path, 2)
    assert Child(partial(save_and_die, path, at, is_late)).wait() == -signal.SIGKILL
    assert checkpoint.exists(path) and load_latest(path).state["number"] in (2, 3)
    save_number(path, 4)
    assert load(path).state["number"] == 4
    assert {file.name for file in tmp_path.iterdir()} <= {"checkpoint.ckpt", "checkpoint.ckpt.previous"}


def save_on_a_full_disk(path: Path, room: int) -> None:
    """Ends with 3 where the save says that it failed."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    try:
        save_number(path, 3)
    except CheckpointError as error:
        assert f"cannot save {path}: File too large" in str(error)
        raise SystemExit(3) from None


@needs_fork
def test_a_disk_that_is_full_at_any_byte_loses_nothing(tmp_path: Path, measure: Any) -> None:
    """The system refuses to let a file grow beyond a random number of bytes."""
    chosen, row, path = random.Random(0), measure("full disk"), tmp_path / "checkpoint.ckpt"
    save_number(path, 1)
    save_number(path, 2)
    size = path.stat().st_size
    for room in (chosen.randrange(size) for _ in range(row.n)):
        is_refused = Child(partial(save_on_a_full_disk, path, room)).wait() == 3
        row.all(is_refused and load(path).state == {"number": 2} and len(list(tmp_path.iterdir())) == 2)
    save_number(path, 4)
    assert load_latest(path).state == {"number": 4}


class Bomb:
    """Unpickled, it leaves a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def signed(body: bytes) -> bytes:
    prefix = b"regattn-checkpoint 1 "
    return prefix + checkpoint._digest(prefix, body) + b"\n" + body


@pytest.mark.measures("malicious checkpoint")
@pytest.mark.parametrize("kind", ["pickle", "torch", "signed pickle", "signed torch"])
def test_a_program_in_a_checkpoint_is_not_run(tmp_path: Path, kind: str) -> None:
    path, mark = tmp_path / "checkpoint.ckpt", tmp_path / "mark"
    if kind.endswith("torch"):
        torch.save({"weight": Bomb(mark)}, path)
    else:
        path.write_bytes(pickle.dumps(Bomb(mark)))
    content = path.read_bytes()
    pickle.loads(pickle.dumps(Bomb(mark)))
    assert mark.exists(), "the bomb is a dud: the test says nothing"
    mark.unlink()
    path.write_bytes(signed(content) if kind.startswith("signed") else content)
    with pytest.raises(DamagedCheckpoint, match=r"checkpoint\.ckpt"):
        load_latest(path)
    assert not mark.exists()


def test_the_first_save_may_fail_too(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "checkpoint.ckpt"
    with pytest.raises(CheckpointError, match=r"cannot save .*: No such file or directory"):
        save_number(path, 1)
    assert not checkpoint.exists(path)


def test_a_damaged_file_never_becomes_the_previous_one(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.ckpt"
    save_number(path, 1)
    save_number(path, 2)
    path.write_bytes(b"damaged")
    checkpoint.set_aside(path)
    save_number(path, 3)
    assert load(checkpoint.previous_of(path)).state == {"number": 1}
