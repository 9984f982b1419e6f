"""Rows are read whole and in order from every format, and bad files are named before anything happens."""

import gzip
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from tasks.data import reader
from tasks.data.reader import Row, hub_sources
from tests.generated_corpus import write_hub

COLUMNS = {"premise": ("premise", "sentence1"), "label": ("gold_label", "label")}
# Every character that some reader takes for the end of a line, and values that some reader takes for missing.
ROWS = [
    ("a\u2028b\u2029c", "neutral"),
    ("x\x85y\x0cz", "-"),
    ("NA", "null"),
    ("\u00e9 \U0001f600", "1"),
    ("nan", ""),
]


def as_json(rows: list[tuple[str, str]]) -> str:
    return "".join(
        json.dumps({"id": 7, "sentence1": premise, "label": label}, ensure_ascii=False) + "\n"
        for premise, label in rows
    )


def as_table(separator: str) -> Callable[[list[tuple[str, str]]], str]:
    return lambda rows: "".join(
        separator.join(row) + "\n" for row in [("sentence1", "label", "id"), *[(*r, "7") for r in rows]]
    )


def as_list(rows: list[tuple[str, str]]) -> str:
    return json.dumps([{"premise": premise, "gold_label": label} for premise, label in rows])


WRITERS = {".jsonl": as_json, ".json": as_list, ".csv": as_table(","), ".tsv": as_table("\t")}


def write(path: Path, content: str | bytes) -> Path:
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def read_rows(*arguments: Any, **named: Any) -> list[Row]:
    return list(reader.read_rows(*arguments, **named))


def values(rows: list[Any]) -> list[tuple[str, str]]:
    return [(row.values["premise"], row.values["label"]) for row in rows]


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("suffix", WRITERS)
def test_every_text_format_gives_the_same_rows(tmp_path: Path, suffix: str, packed: str) -> None:
    path = write(tmp_path / f"rows{suffix}{packed}", WRITERS[suffix](ROWS))
    rows = read_rows(path, COLUMNS)
    assert values(rows) == ROWS and [row.number for row in rows] == [1, 2, 3, 4, 5]
    assert os.listdir(tmp_path) == [path.name]


def test_parquet_gives_the_same_rows(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "rows.parquet", premise=[r[0] for r in ROWS], label=[r[1] for r in ROWS])
    assert values(read_rows(path, COLUMNS)) == ROWS


def test_values_of_several_types_stay_what_they_are(tmp_path: Path) -> None:
    """A library that settles for one type makes the number 0 of "-", and a date of a text like one."""
    path = write(tmp_path / "a.json", '{"premise": "2017-01-02", "label": 0}\n{"premise": "b", "label": "-"}')
    assert values(read_rows(path, COLUMNS)) == [("2017-01-02", 0), ("b", "-")]


def test_numbers_that_stand_for_names_are_read_as_the_names(tmp_path: Path) -> None:
    """Whatever their order: 0 is not everywhere what it is in SNLI."""
    datasets = pytest.importorskip("datasets")
    label = datasets.ClassLabel(names=["contradiction", "neutral", "entailment"])
    features = datasets.Features({"premise": datasets.Value("string"), "label": label})
    rows = {"premise": ["a", "b", "c"], "label": [0, 2, -1]}
    datasets.Dataset.from_dict(rows, features).to_parquet(str(tmp_path / "a.parquet"))
    found = values(read_rows(tmp_path / "a.parquet", COLUMNS))
    assert found == [("a", "contradiction"), ("b", "entailment"), ("c", -1)]


def test_columns_of_pictures_are_refused_undecoded(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"premise": datasets.Image(), "label": datasets.Value("string")})
    rows = {"premise": [{"bytes": None, "path": "/etc/passwd"}], "label": ["0"]}
    datasets.Dataset.from_dict(rows, features).to_parquet(str(tmp_path / "a.parquet"))
    with pytest.raises(ValueError, match="must have plain values of one type in column premise, got Image"):
        read_rows(tmp_path / "a.parquet", COLUMNS)


@pytest.mark.measures("bad data")
def test_a_parquet_file_that_is_damaged_inside_is_named(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", premise=["a"] * 50, label=["0"] * 50)
    data = path.read_bytes()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    for at in (4, footer):
        path.write_bytes(data[:at] + bytes(24) + data[at + 24 :])
        with pytest.raises(ValueError, match=r"a\.parquet must have whole rows, got: "):
            read_rows(path, COLUMNS)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv"])
def test_byte_order_mark_and_windows_line_ends_do_not_matter(tmp_path: Path, suffix: str) -> None:
    text = "\ufeff" + WRITERS[suffix](ROWS).replace("\n", "\r\n")
    assert values(read_rows(write(tmp_path / f"rows{suffix}", text), COLUMNS)) == ROWS


def test_quotation_marks_quote_in_csv_alone(tmp_path: Path) -> None:
    csv = write(tmp_path / "a.csv", 'premise,label\n"a, ""b""\n\nc",1\n')
    tsv = write(tmp_path / "a.tsv", 'premise\tlabel\n"a "b\t1\n')
    assert values(read_rows(csv, COLUMNS)) == [('a, "b"\n\nc', "1")]
    assert values(read_rows(tsv, COLUMNS)) == [('"a "b', "1")]


def test_rows_are_filtered_and_keep_their_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "premise,label,split\na,0,train\nb,0,dev\nc,0,train\n")
    rows = read_rows(path, COLUMNS, {"split": "train"})
    assert [(row.values["premise"], row.number) for row in rows] == [("a", 1), ("c", 3)]
    assert rows[1].where == f"{path}, row 3"


def write_parquet(path: Path, **columns: Any) -> Path:
    table = pytest.importorskip("pyarrow").table(columns)
    pytest.importorskip("pyarrow.parquet").write_table(table, path)
    return path


def test_a_changed_file_is_read_again_with_a_lasting_cache(tmp_path: Path) -> None:
    path, cache = tmp_path / "a.parquet", tmp_path / "cache"
    for text in ("one", "two"):
        write_parquet(path, premise=[text], label=["0"])
        os.utime(path, (10**9, 10**9 + len(os.listdir(tmp_path))))
        assert values(read_rows(path, COLUMNS, cache=cache)) == [(text, "0")]
    assert cache.is_dir()


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_line_of_two_megabytes_is_one_row(tmp_path: Path, suffix: str) -> None:
    rows = [("x" * 2_000_000, "0"), ("b", "1")]
    assert values(read_rows(write(tmp_path / f"a{suffix}", WRITERS[suffix](rows)), COLUMNS)) == rows


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "must hold data, got an empty file"),
        ("a.csv.gz", "", "must hold data, got an empty file"),
        ("a.csv", "premise,text\na,b\n", "must have a column gold_label or label, got premise, text"),
        ("a.csv", "premise,label\na,0\nb\n", "row 2 must have 2 columns, got 1"),
        ("a.csv", "premise,label\na,0,5\nb,1,5\n", "row 1 must have 2 columns, got 3"),
        ("a.csv", "premise,label\n", "must have rows, got none"),
        ("a.csv", "\n\n", "must have rows, got none"),
        ("a.jsonl", "\n \n", "must have rows, got none"),
        ("a.csv", "premise,label,premise\na,0,b\n", "must have different columns, got 'premise' twice"),
        ("a.csv", 'premise,label\n"a,0\n', "line 2 must begin a row of whole fields, got: unexpected end"),
        (
            "a.csv",
            'premise,label\n"a\n",0\na,"0"0\n',
            "line 4 must begin a row of whole fields, got: ',' expected",
        ),
        ("a.csv", b"premise,label\n\xc3\xa9\xe9,0\n", "must be UTF-8, got byte 0xe9 at offset 16"),
        ("a.jsonl", b'{"premise": "\xff"}\n', "must be UTF-8, got byte 0xff at offset 13"),
        ("a.csv", "premise,label\na\rb,0\n", "must have no 0x0d inside a line, got one at offset 15"),
        ("a.tsv", "premise\tlabel\na\0b\t0\n", "must have no 0x00 inside a line, got one at offset 15"),
        ("a.jsonl", '{"premise": "a"\n', r"row 1 must be JSON, got: Expecting"),
        (
            "a.jsonl",
            '\n{"premise": "a", "label": 0}\n["a"]\n',
            r'row 2 must be an object of JSON, got \["a"\]',
        ),
        ("a.jsonl", "null\n", "row 1 must be an object of JSON, got null"),
        ("a.json", '[{"premise": "a", "label": 0}, null]', "row 2 must be an object of JSON, got null"),
        ("a.json", '[{"premise": "a", "label": 0},\n', "must be JSON, got: Expecting"),
        ("a.jsonl", "[" * 5000 + "]" * 5000, "row 1 must be JSON, got: values must be nested"),
        ("a.jsonl", '{"premise": "a", "label": NaN}\n', "must be JSON, got: numbers must be finite, got NaN"),
        (
            "a.jsonl",
            '{"premise": "a", "premise": "b", "label": 0}',
            "must be different in an object, got premise twice",
        ),
        ("a.jsonl", '{"premise": "\\ud800", "label": 0}', r"halves of characters, got '\\ud800'"),
        ("a.jsonl", '{"premise": "a", "label": ["\\u0000"]}', r"must have text without NUL .*, got '\\x00'"),
        ("a.parquet", "PAR1 and no more", "must have PAR1 at both ends of a parquet file, got a damaged one"),
        ("a.txt", "premise", "must have one of the suffixes .* got '.txt'"),
        ("a.parquet.gz", "PAR1", "must have one of the suffixes .* got '.gz'"),
    ],
)
@pytest.mark.measures("bad data")
def test_bad_files_are_named_in_one_sentence(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(ValueError, match=message) as caught:
        read_rows(path, COLUMNS)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == [name]


def test_rows_of_a_large_table_are_not_held_in_memory(tmp_path: Path) -> None:
    texts = [f"{number} " * 100 for number in range(40_000)]
    parquet.write_table(pa.table({"premise": texts, "label": texts}), tmp_path / "a.parquet")
    write(tmp_path / "a.csv", as_table(",")([(text, text) for text in texts]))
    for suffix in (".parquet", ".csv"):
        found = reader.read_rows(tmp_path / f"a{suffix}", COLUMNS)
        next(found)
        tracemalloc.start()
        assert sum(1 for _ in found) == 39_999
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 30_000_000, "of the 47 MB of all texts"


@pytest.mark.measures("bad data")
def test_truncated_gzip_is_rejected(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl.gz", as_json(ROWS * 50))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match="must be a whole gzip file, got a damaged one"):
        read_rows(path, COLUMNS)


@pytest.mark.measures("bad data")
def test_missing_files_directories_and_filters_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a\.csv must be a file, got nothing there"):
        read_rows(tmp_path / "a.csv", COLUMNS)
    with pytest.raises(IsADirectoryError, match="got a directory"):
        read_rows(tmp_path, COLUMNS)
    path = write(tmp_path / "b.csv", "premise,label\na,0\n")
    with pytest.raises(ValueError, match="must have a column split, got premise, label"):
        read_rows(path, COLUMNS, {"split": "train"})


@pytest.mark.parametrize(
    "setting", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0"}]
)
@pytest.mark.measures("bad environment")
def test_no_network_is_said_at_once_and_what_to_do(tmp_path: Path, setting: dict[str, str]) -> None:
    code = """
import time
slept = []
time.sleep = lambda seconds: slept.append(seconds)
from tasks.data.reader import hub_sources
try:
    hub_sources("stanfordnlp/snli", {}, str)["train"][0].read()
finally:
    assert sum(slept) < 10, slept  # between tries: how long all takes, a busy machine decides
"""
    root = Path(__file__).resolve().parents[3]
    environment = {**os.environ, **setting, "PYTHONPATH": str(root), "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode and last.startswith(
        "ConnectionError: the data set 'stanfordnlp/snli' must come from the hub"
    )
    assert "pass a folder with its files instead" in last


def test_importing_the_reader_does_not_import_the_library() -> None:
    code = "import sys, tasks.entailment.data; assert not {'datasets', 'pandas'} & set(sys.modules)"
    root = Path(__file__).resolve().parents[3]
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(root)}, check=True)


def test_names_that_no_data_set_can_have_are_rejected() -> None:
    with pytest.raises(ValueError, match="must have the data set and split, got 'a/b/c', 'train'"):
        hub_sources("a/b/c", COLUMNS, str)["train"][0].read()


def test_reading_a_local_file_asks_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*address: Any, **options: Any) -> None:
        asked.append(address)
        raise OSError("no network")

    asked: list[Any] = []
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    for suffix in WRITERS:
        read_rows(write(tmp_path / f"a{suffix}", WRITERS[suffix](ROWS)), COLUMNS)
    assert not asked


def test_one_of_several_values_is_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "premise,label,split\na,0,x\nb,1,y\nc,2,z\n")
    assert values(read_rows(path, COLUMNS, {"split": ["x", "z"]})) == [("a", "0"), ("c", "2")]


def test_entries_of_a_column_are_columns(tmp_path: Path) -> None:
    rows = [{"translation": {"de": "ja", "en": "yes"}}, {"translation": {"de": "nein", "en": "no"}}]
    path = write(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    found = read_rows(path, {"source": ("en", "translation.en"), "target": ("de", "translation.de")})
    assert [row.values for row in found] == [
        {"source": "yes", "target": "ja"},
        {"source": "no", "target": "nein"},
    ]
    with pytest.raises(ValueError, match=r"must have a column fr or translation\.fr, got translation\.de"):
        read_rows(path, {"source": ("fr", "translation.fr")})


@pytest.mark.parametrize("config", [None, "de-en"])
def test_a_data_set_of_the_hub(tmp_path: Path, config: str | None) -> None:
    rows = {
        split: [{"translation": {"de": f"{split} ja", "en": f"{split} yes"}}] for split in ("train", "test")
    }
    name = str(write_hub(tmp_path / "set", rows, config))
    columns = {"source": ("de", "translation.de")}
    sources = hub_sources(name, columns, lambda row: row.values, config=config, cache=tmp_path / "cache")
    for split in rows:
        assert [*sources[split][0].read()] == [{"source": f"{split} ja"}]
        assert sources[split][0].name == f"{name} {split}"
    assert sources["train"][0].version() != sources["test"][0].version()
    with pytest.raises(ValueError, match=r"must have the data set and split, got .*, 'validation'"):
        sources["dev"][0].read()
