"""What is prepared once is what would be read: after damage and kills, by several starts and processes."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from omegaconf import OmegaConf

from scripts.runs import setup
from tasks.data import cache, corpus
from tasks.data.files import digest
from tasks.seq2seq import text
from tasks.seq2seq.text import TextSettings, Tokenizers, short_pairs
from tasks.summarization.data import load_folder
from tasks.translation.data import load_folder as load_parallel
from tests import generated_corpus

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from forked import Child, needs_fork

SETTINGS = TextSettings(vocab_size=500)
Outcome = tuple[Any, ...]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    generated_corpus.write(folder, train=2_000, held_out=20)
    return folder


@pytest.fixture(autouse=True)
def several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks small enough that even these corpora have some."""
    for module in (corpus, cache):
        monkeypatch.setattr(module, "CHUNK", 150)
    monkeypatch.setattr(cache, "available_cores", lambda: 2)


def start(source: Path, folder: Path | None, **options: Any) -> Outcome:
    """All that a training is begun with."""
    found = load_folder(source, prepared=folder, **options)
    tokenizers = Tokenizers.train(found, SETTINGS)
    pairs = short_pairs(found, tokenizers, 40)
    splits = {split: list(examples) for split, examples in found.splits.items()}
    return found.sha256, found.files, splits, tokenizers.sha256, pairs.lengths.tolist(), pairs[:]


@pytest.fixture(scope="module")
def wanted(source: Path) -> Outcome:
    """The same read at once, by one process that keeps nothing."""
    return start(source, None)


def test_kept_or_not_in_one_or_several_processes_all_is_the_same(
    source: Path, wanted: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert start(source, tmp_path) == wanted
    monkeypatch.setattr(corpus, "write_batches", None)
    monkeypatch.setattr(text, "write_batches", None)
    monkeypatch.setattr(TextSettings, "train", None)
    assert start(source, tmp_path) == wanted, "found again, and not made"


def test_an_odd_place_among_the_items_is_that_of_a_list(source: Path, wanted: Outcome) -> None:
    items, known = load_folder(source).splits["train"], wanted[2]["train"]
    assert isinstance(items, cache.Items) and items == known and known == items
    assert items[-1] == known[-1] and items[149:151] == known[149:151] and items[::700] == known[::700]
    with pytest.raises(IndexError):
        items[len(known)]
    chosen = items.where(place % 7 == 3 for place in range(len(items)))
    assert chosen[:] == known[3::7] and chosen[20:25] == known[3::7][20:25] and chosen[4] == known[31]
    assert list(chosen.where(place > 200 for place in range(len(chosen)))) == known[3::7][201:]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell what is mapped")
def test_items_read_in_order_stay_in_no_memory(tmp_path: Path) -> None:
    def mapped() -> int:
        (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if "RssFile" in line)
        return int(line.split()[1])

    batches = (cache.row_batch(cache.ITEM, [b"x" * 1_000] * 1_000) for _ in range(40))
    cache.write_batches(tmp_path / "items", cache.ITEM, batches)
    items: cache.Items[bytes] = cache.Items(tmp_path / "items", lambda stored: stored)
    before = mapped()
    assert sum(map(len, items)) == 40_000_000
    assert mapped() - before < 10_000, "of the 39,000 kB of the file"


def test_another_file_option_or_code_is_another_preparation(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(source, tmp_path / "copy"))
    names = {name_of(copy / "train/train.title.txt", {"limit": limit}) for limit in (None, 5)}
    with (copy / "train/train.title.txt").open("r+b") as file:
        stat = os.stat(file.fileno())
        file.write(b"Q")
    os.utime(copy / "train/train.title.txt", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    names.add(name_of(copy / "train/train.title.txt", {"limit": None}))
    monkeypatch.setattr(cache, "code_version", lambda: "next")
    names.add(name_of(copy / "train/train.title.txt", {"limit": None}))
    assert len(names) == 4


def name_of(file: Path, options: dict[str, Any]) -> str:
    return cache.fingerprint({file: digest(file)}, options)


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))


def test_what_is_damaged_is_made_again(source: Path, wanted: Outcome, tmp_path: Path) -> None:
    start(source, tmp_path)
    files = [file for file in tmp_path.glob("*/*")]
    assert len(files) == 4 + 1 + 2 + 3  # splits and corpus, tokenizers, pairs, digests
    for spoil in (flip, lambda file: os.truncate(file, file.stat().st_size - 9), os.remove):
        for file in files:
            spoil(file)
        assert start(source, tmp_path) == wanted
        assert sorted(tmp_path.glob("*/*")) == sorted(files)


def test_a_file_that_changes_meanwhile_is_not_kept(source: Path, tmp_path: Path, monkeypatch: Any) -> None:
    copy = Path(shutil.copytree(source, tmp_path / "copy"))
    own, changes = corpus.keep_whole, [Path.touch, lambda file: file.write_text(f"new {file.read_text()}")]

    def change(*arguments: Any) -> None:
        own(*arguments)
        changes.pop(0)(copy / "Giga/input.txt")

    monkeypatch.setattr(corpus, "keep_whole", change)
    assert load_folder(copy, prepared=tmp_path / "kept").sha256, "a touched file says what it said"
    with pytest.raises(ValueError, match=r"input\.txt must stay as it is while it is read, got a change"):
        load_folder(copy, prepared=tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"]


@needs_fork
def test_killed_while_it_prepares_a_run_begins_again(
    source: Path, wanted: Outcome, tmp_path: Path, measure: Any
) -> None:
    chance, row = random.Random(0), measure("killed preparation")
    begun = time.monotonic()
    start(source, tmp_path / "timed")
    taken, kills = time.monotonic() - begun, 0
    for trial in range(row.n):
        folder = tmp_path / str(trial)
        child = Child(partial(start, source, folder))
        time.sleep(chance.uniform(0, taken))
        child.send()
        kills += child.wait() == -signal.SIGKILL
        row.all(start(source, folder) == wanted and not [*folder.glob("*.tmp")], pairs=2_000)
    row.add(0, kills=kills)


@needs_fork
def test_of_two_starts_at_once_one_prepares(
    source: Path, wanted: Outcome, tmp_path: Path, measure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, made = measure("two preparations"), tmp_path / "made"
    own = cache._made_once

    def told(folder: Path, make: Callable[[Path], object]) -> Path:
        def make_and_tell(path: Path) -> None:
            make(path)
            with made.open("a") as file:
                file.write(f"{folder.name}\n")

        return own(folder, make_and_tell)

    monkeypatch.setattr(cache, "_made_once", told)
    for trial in range(row.n):
        made.write_text("")
        prepare = partial(same_as, wanted, source, tmp_path / str(trial))
        children = [Child(prepare) for _ in range(2)]
        codes = [child.wait() for child in children]
        names = made.read_text().split()
        row.all(codes == [0, 0] and len(names) == len(set(names)) == 3, pairs=2_000)


def test_what_is_waited_for_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Said(io.StringIO):
        def flush(self) -> None:
            other.release()

    folder = tmp_path / "numbers"
    other = FileLock(f"{folder}.lock")
    monkeypatch.setattr(cache, "_PATIENCE", 0.1)
    monkeypatch.setattr(sys, "stderr", said := Said())
    with other:
        assert cache.prepared(folder, lambda made: (made / "file").write_text("1"), os.listdir)
    assert said.getvalue() == f"waiting for another process to prepare {folder}\n"


@needs_fork
def test_what_another_user_keeps_private_is_named() -> None:
    def ask(folder: Path) -> None:
        if os.getuid() == 0:  # who may do everything
            os.setuid(65534)
        with pytest.raises(PermissionError) as refused:
            cache.prepared(folder, lambda made: (made / "file").write_text("1"), os.listdir)
        assert str(refused.value) == (
            f"{folder.parent} must hold what this user may read and replace, got another user's numbers; "
            f"{cache.VARIABLE} names another folder"
        )

    with tempfile.TemporaryDirectory() as shared:  # where every user may look, unlike tmp_path
        folder = Path(shared, "numbers")
        cache.prepared(folder, lambda made: (made / "file").write_text("1"), os.listdir)
        folder.chmod(0)
        Path(shared).chmod(0o777)
        assert Child(partial(ask, folder)).wait() == 0
        folder.chmod(0o700)
        assert sorted(os.listdir(shared)) == ["numbers", "numbers.lock"]


def same_as(wanted: Outcome, source: Path, folder: Path) -> None:
    assert start(source, folder) == wanted


@needs_fork
def test_a_process_that_prepares_and_is_killed_is_missed() -> None:
    def work(chunk: int) -> int:
        if chunk == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return chunk

    with pytest.raises(OSError, match="ended from outside, perhaps for its memory"):
        list(cache.map_chunks(work, range(9)))


def test_an_error_of_a_process_is_that_of_its_chunk() -> None:
    def work(chunk: int) -> float:
        return 1 / (chunk - 3)

    found = cache.map_chunks(work, range(9))
    assert [next(found) for _ in range(3)] == [-1 / 3, -1 / 2, -1]
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_a_folder_that_cannot_be_written_is_said_and_done_without(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "file" / "cache"))
    config = OmegaConf.create(
        {"_target_": "tasks.summarization.data.load_folder", "root": str(source), "limit": 30}
    )
    found, (note,) = setup.load_corpus(config)
    assert len(found.splits["train"]) == 30 and len(Tokenizers.train(found, SETTINGS)) == 2
    assert note.startswith("what has to be prepared is not kept: ")
    assert note.endswith(f"{cache.VARIABLE} names another")


def test_a_cache_that_cannot_be_written_is_read(
    source: Path, wanted: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_folder(source, prepared=tmp_path)
    kept = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(cache, "refusal", lambda folder: OSError(errno.EROFS, "Read-only file system"))
    monkeypatch.setattr(corpus, "read_part", None)
    assert start(source, tmp_path) == wanted, "the corpus is found, the rest made for this start"
    assert sorted(tmp_path.rglob("*")) == kept


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_without_locks_a_start_prepares(
    source: Path, wanted: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(pytest.importorskip("fcntl"), "flock", refuse)
    assert start(source, tmp_path) == wanted
    assert not [*tmp_path.glob("*.tmp")]


def test_a_disk_that_fills_up_is_named(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "Error writing bytes to file. Detail: no space left on device")

    monkeypatch.setattr(corpus, "write_batches", fill)
    with pytest.raises(OSError, match=rf"{tmp_path} must have room for what is prepared, got a full disk; "):
        load_folder(source, prepared=tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_without_a_home_the_cache_must_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (cache.VARIABLE, "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31)
    with pytest.raises(ValueError, match="must name a folder where there is no home directory, got none"):
        cache.default_folder()
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    assert cache.default_folder() == tmp_path


def test_a_tokenizer_of_many_texts_is_learnt_from_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.data import tokenizers

    texts = [f"dog{number % 9} cat" for number in range(900)]
    monkeypatch.setattr(tokenizers, "SAMPLE", 90)
    sampled = tokenizers.SubwordTokenizer.train(texts, vocab_size=30)
    assert sampled.sha256 == tokenizers.SubwordTokenizer.train(texts[::10], vocab_size=30).sha256


def odd_source(source: Path, copy: Path) -> Path:
    """Two training files, with a byte-order mark, other line ends, and no end of the last line."""
    shutil.copytree(source, copy)
    for side, mark in (("article", b"\xef\xbb\xbf"), ("title", b"")):
        file = copy / f"train/train.{side}.txt"
        lines = file.read_bytes().splitlines()
        file.write_bytes(mark + b"\r\n".join(lines[:1_200]))
        (copy / f"more.{side}.txt").write_bytes(b"\n".join(["Ünï".encode() + line for line in lines[1_200:]]))
    return copy


def test_streamed_all_is_the_same_and_little_is_kept(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = odd_source(source, tmp_path / "odd")
    files = {"train": ["train/train.article.txt", "more.article.txt"], "prepare": True, "rush_filter": True}
    for number, (root, options) in enumerate([(source, {"limit": 700}), (odd, files)]):
        stored, streamed = tmp_path / f"stored{number}", tmp_path / f"streamed{number}"
        wanted = start(root, stored, **options)
        assert len(wanted[-1]) > 100
        assert start(root, streamed, **options, stream=True) == wanted
        assert len([*streamed.glob("*/train.arrow")]) == 1
        sizes = [sum(file.stat().st_size for file in cached.glob("*/*")) for cached in (stored, streamed)]
        assert 2 * sizes[1] < sizes[0]
    with monkeypatch.context() as made:
        made.setattr(corpus, "write_batches", None)
        made.setattr(text.np, "save", None)
        assert start(odd, streamed, **files, stream=True) == wanted, "found again, and not made"


def test_streamed_held_out_pairs_are_those_that_are_stored(tmp_path: Path) -> None:
    for side in ("de", "en"):
        lines = [f"&apos;{side}&apos; {number % 180} {side * 3}" for number in range(200)]
        (tmp_path / f"train.{side}").write_text("\n".join(lines))
    load = partial(load_parallel, tmp_path, held_out={"dev": 20, "test": 20}, tokenized=True)
    stored, streamed = load(), load(stream=True)
    assert streamed == stored and streamed.splits["test"][3].source.startswith("'de'")
    assert all(streamed.splits[split][:] == [*stored.splits[split]] for split in ("train", "dev", "test"))


@pytest.mark.parametrize("name", ["train.article.txt.gz", "train.jsonl"])
def test_what_has_no_lines_to_find_is_not_streamed(source: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(source, tmp_path / "copy"))
    pairs = [(copy / f"train/train.{side}.txt").read_text().splitlines() for side in ("article", "title")]
    for side, lines in zip(("article", "title"), pairs, strict=True):
        with gzip.open(copy / f"packed.{side}.txt.gz", "wt") as packed:
            packed.write("\n".join(lines))
    rows = [{"source": source, "target": target} for source, target in zip(*pairs, strict=True)]
    (copy / "packed.jsonl").write_text("\n".join(map(json.dumps, rows)))
    name = name.replace("train", "packed")
    load = partial(load_folder, copy, train=[name], limit=30)
    assert len(load().splits["train"]) == 30
    with pytest.raises(
        ValueError, match=rf"data\.stream must read plain text files .*, got .*{name}: unpack"
    ):
        load(stream=True)


def test_a_streamed_file_that_changes_meanwhile_is_noticed(source: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(source, tmp_path / "copy"))
    found = load_folder(copy, prepared=tmp_path / "cache", stream=True).splits["train"]
    kept = found[:]
    titles = copy / "train/train.title.txt"
    os.replace(shutil.copy(titles, copy / "another"), titles)
    assert found[:] == kept, "the file that was opened is as it was"
    found = load_folder(copy, prepared=tmp_path / "cache", stream=True).splits["train"]
    for file in (titles, copy / "train/train.article.txt"):
        os.utime(file, (0, 0))
        assert found[:] == kept, "a file that was touched says what it said"
    with (copy / "train/train.article.txt").open("ab") as file:
        file.write(b"one more\n")
    with pytest.raises(ValueError, match=r"article\.txt must stay as it is while it is trained on, got a ch"):
        found[5]


def test_streamed_lines_are_those_of_the_folder_named(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for place in ("first", "second"):
        shutil.copytree(source, tmp_path / place / "data")
        monkeypatch.chdir(tmp_path / place)
        found.append(load_folder(Path("data"), prepared=tmp_path / "cache", stream=True).splits["train"][5])
        for file in Path("data/train").iterdir():
            file.write_text("something else\n" * 3_000)
    assert found[0] == found[1]


def test_too_small_a_disk_is_refused_before_any_work(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "SPACE", 1e15)
    with pytest.raises(
        OSError, match=r" GB free .*, got .* GB: data\.stream=true keeps an index .*REGATTN_C"
    ):
        load_folder(source, prepared=tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]
    assert load_folder(source, prepared=tmp_path, stream=True).sha256
