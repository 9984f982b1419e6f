"""make data: tables out of files of public repositories, or nothing and a reason."""

import gzip
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from scripts import data
from scripts.cli import UsageError
from tasks.data.reader import read_rows

SHARED = Path(__file__).resolve().parents[3] / "shared/data"
SOURCES: dict[str, Any] = OmegaConf.to_container(OmegaConf.load(data.SOURCES))  # type: ignore[assignment]


def zipped(name: str, text: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(f"__MACOSX/._{Path(name).name}", "x")
        archive.writestr(name, text)
    return packed.getvalue()


# Own sentences, in the forms of the sources.
CASES: dict[str, tuple[dict[str, bytes], list[data.Row]]] = {
    "parallel": (
        {
            "a.en.gz": gzip.compress(b"A boat. \nTwo\x0c boats.\n"),
            "a.de.gz": gzip.compress(b"Ein Boot.\nZwei.\n"),
        },
        [{"en": "A boat.", "de": "Ein Boot."}, {"en": "Two\x0c boats.", "de": "Zwei."}],
    ),
    "tab_separated": (
        {"f.zip": zipped("f/fra.txt", "A boat.\tUn bateau.\tCC-BY\nRow!\tRamez !\tCC-BY\n")},
        [{"en": "A boat.", "fr": "Un bateau."}, {"en": "Row!", "fr": "Ramez !"}],
    ),
    "alignments": (
        {"x.src-tgt": b"a boat   ||| un bateau  \n", "x.gold": b"1-1 2p2 2-2\n"},
        [{"src": "a boat", "tgt": "un bateau", "sure": [[0, 0], [1, 1]], "possible": [[1, 1]]}],
    ),
    "headlines": (
        {"input.txt": b"a boat sank .\n", "task1_ref0.txt": b"boat sinks\n"},
        [{"article": "a boat sank .", "headline": "boat sinks"}],
    ),
    "summaries": (
        {"x.jsonl": b'{"id": "1", "text": "A boat sank.", "summaries": ["boat", "sinks"]}\n'},
        [{"id": "1", "article": "A boat sank.", "references": ["boat", "sinks"]}],
    ),
    "compressions": (
        {"sentence_en.txt": b"A boat sank .\n" * 2001, "compression_en.txt": b"A boat\n" * 2001},
        [
            {"sentence": "A boat sank .", "compression": "A boat", "split": split}
            for split in ["test"] * 1000 + ["dev"] * 1000 + ["train"]
        ],
    ),
    "revisions": (
        {"N/original/dev.tsv": b'sentence1\tsentence2\tgold_label\nA "boat".\tA ship.\tneutral\n'},
        [
            {"premise": 'A "boat".', "hypothesis": "A ship.", "gold_label": "neutral"}
            | {"subset": "original", "split": "dev"}
        ],
    ),
    "entailment": (
        {"d/s1.dev": b"A boat .\n", "d/s2.dev": b"A ship .\n", "d/labels.dev": b"neutral\n"},
        [{"premise": "A boat .", "hypothesis": "A ship .", "gold_label": "neutral"}],
    ),
}


def test_there_is_a_case_for_every_builder_and_a_builder_for_every_table() -> None:
    assert CASES.keys() == data.BUILDERS.keys() == {source["build"] for source in SOURCES["tables"].values()}
    for source in SOURCES["tables"].values():
        assert len(source["commit"]) == 40 and source["terms"]
        assert {len(sha256) for sha256 in (source["sha256"], *source["files"].values())} == {64}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the public repositories; files are fetched from it as from there."""
    monkeypatch.setattr(data, "URL", tmp_path.as_uri() + "/{repository}/{commit}/{file}")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "own" / "texts" / "c0ffee"


def described(folder: Path, files: Mapping[str, bytes], rows: list[data.Row], build: str) -> dict[str, Any]:
    """The source of these files, which are put there."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    source = {"build": build, "repository": "own/texts", "commit": "c0ffee", "files": sums, "terms": "own"}
    return {**source, "rows": len(rows), "sha256": data.checksum(rows)}


@pytest.mark.parametrize("build", CASES)
def test_files_become_the_table_that_configs_read(repository: Path, build: str) -> None:
    files, rows = CASES[build]
    source = described(repository, files, rows, build)
    assert data.make_table("a/b.parquet", source, Path("data/small"))
    wanted = {name: [name] for name in rows[0] if name not in LINKS}
    read = list(read_rows(Path("data/small/a/b.parquet"), wanted))
    assert [row.values for row in read] == [
        {name: value for name, value in row.items() if name not in LINKS} for row in rows
    ]
    for name in files:
        (repository / name).unlink()
    assert not data.make_table("a/b.parquet", source, Path("data/small"))
    Path("data/small/a/b.parquet").unlink()
    assert data.make_table("a/b.parquet", source, Path("data/small")), "files once fetched are kept"


LINKS = ("sure", "possible")


def test_another_file_is_refused_and_nothing_is_made(repository: Path) -> None:
    files, rows = CASES["headlines"]
    source = described(repository, files, rows, "headlines")
    (repository / "input.txt").write_bytes(b"another\n")
    with pytest.raises(UsageError, match=r"own/texts/input\.txt must have the SHA-256 \w+, got \w+"):
        data.make_table("b.parquet", source, Path("data"))
    (repository / "input.txt").unlink()
    with pytest.raises(UsageError, match=r"input\.txt must be there to be read, got: "):
        data.make_table("b.parquet", source, Path("data"))
    assert not list(Path("data").rglob("*.parquet"))


def test_a_file_may_not_be_endless(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, rows = CASES["headlines"]
    monkeypatch.setattr(data, "MOST_BYTES", 5)
    with pytest.raises(UsageError, match=r"input\.txt must have at most 5 bytes, got more"):
        data.make_table("b.parquet", described(repository, files, rows, "headlines"), Path("data"))


def test_rows_that_say_something_else_are_refused(repository: Path) -> None:
    files, rows = CASES["headlines"]
    source = described(repository, files, [*rows, *rows], "headlines")
    with pytest.raises(UsageError, match=r"b\.parquet must say what has the SHA-256 \w+, got \w+"):
        data.make_table("b.parquet", source, Path("data"))
    assert not list(Path("data").rglob("*.parquet"))


def test_the_command_says_what_it_made_and_what_is_elsewhere(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files, rows = CASES["headlines"]
    tables = {"b.parquet": described(repository, files, rows, "headlines")}
    sources = repository.parent / "sources.yaml"
    sources.write_text(json.dumps({"tables": tables, "elsewhere": {"c.parquet": "ask somebody"}}))
    monkeypatch.setattr(data, "SOURCES", sources)
    data.main([])
    said = capsys.readouterr()
    assert said.out == "data/small/b.parquet: 1 rows; own\n"
    assert said.err == "data/small/c.parquet: to be had elsewhere: ask somebody\n"


@pytest.mark.skipif(not SHARED.exists(), reason="the tables are not in ../shared/data")
@pytest.mark.parametrize("target", [name for name, s in SOURCES["tables"].items() if s["rows"] < 1_500])
def test_the_known_checksums_are_those_of_the_tables_that_records_name(target: str) -> None:
    source = SOURCES["tables"][target]
    (names,) = {tuple(row) for row in CASES[source["build"]][1][:1]}
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(SHARED / target)
    if source["build"] == "parallel":
        names = tuple(name.split(".")[-2] for name in source["files"])
    assert data.checksum(table.select(names).to_pylist()) == source["sha256"]
