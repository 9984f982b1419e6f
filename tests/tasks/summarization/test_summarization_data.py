"""Headlines stay with their sentences, from archives and from tables, with one reference or with several."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tasks.seq2seq.data import Example
from tasks.summarization.data import gigaword_form, load_folder, load_hub, passes_filter
from tests.generated_corpus import write_hub

SHARED = Path(__file__).resolve().parents[3] / "../shared/data"
PAIRS = {
    "train": [("a dog was seen in #### .", "dog seen"), ("the cat sat \u2028 down .", "cat sits")],
    "dev": [("rain fell on sunday .", "rain falls")],
    "test": [("snow fell in UNK .", "snow falls")],
}
DUC = [
    ("Wind blew in Oslo.", ("Wind blows", "It blew", "Oslo wind")),
    ("Sun, at last.", ("Sun", "S.", "Sun!")),
]


def write(file: Path, lines: list[str], packing: str = "") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(f"{line}\n" for line in lines).encode()
    path = file.with_name(file.name + packing)
    path.write_bytes(gzip.compress(data) if packing else data)


def write_archive(root: Path, folder: str = "train", packing: str = "") -> Path:
    """As harvardnlp's archive has them."""
    for split, name in (("train", "train.{}.txt"), ("dev", "valid.{}.filter.txt")):
        for kind, side in zip(("article", "title"), zip(*PAIRS[split], strict=True), strict=True):
            write(root / folder / name.format(kind), list(side), packing)
    for name, side in zip(("input.txt", "task1_ref0.txt"), zip(*PAIRS["test"], strict=True), strict=True):
        write(root / "Giga" / name, list(side), packing)
    return root


def write_duc(folder: Path, packing: str = "") -> None:
    write(folder / "input.txt", [source for source, _ in DUC], packing)
    for number in range(3):
        write(folder / f"task1_ref{number}.txt", [references[number] for _, references in DUC], packing)


def write_table(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("packing", ["", ".gz"])
@pytest.mark.parametrize("folder", ["", "train"])
def test_the_usual_archive_is_found(tmp_path: Path, folder: str, packing: str) -> None:
    write_archive(tmp_path, folder, packing)
    corpus = load_folder(tmp_path)
    assert corpus.sizes == {"train": 2, "dev": 1, "test": 1} and not any(corpus.dropped.values())
    assert (corpus.name, corpus.languages) == ("gigaword", ("en", "en"))
    assert corpus.splits["train"][1] == Example("the cat sat \u2028 down .", ("cat sits",))
    write_duc(tmp_path / "DUC2004", packing)
    with_duc = load_folder(tmp_path)
    assert with_duc.test_splits == ("test", "duc2004")
    assert with_duc.splits["duc2004"] == [Example(source, references) for source, references in DUC]


def test_tables_with_their_own_columns_give_the_same_corpus(tmp_path: Path) -> None:
    wanted = load_folder(write_archive(tmp_path / "archive"))
    rows = [
        {"text": a, "title": b, "split": split, "n": n}
        for split, pairs in PAIRS.items()
        for n, (a, b) in enumerate(pairs)
    ]
    write_table(tmp_path / "all.jsonl", rows)
    write_table(tmp_path / "test.jsonl", [{"article": a, "headline": [b]} for a, b in PAIRS["test"]])
    corpus = load_folder(
        tmp_path,
        train=["all.jsonl"],
        dev=["all.jsonl"],
        tests={"test": "test.jsonl"},
        columns={"all.jsonl": {"source": "text", "target": "title"}},
        keep={
            "train": {"all.jsonl": {"split": "train", "n": ["0", "1"]}},
            "dev": {"all.jsonl": {"split": "dev"}},
        },
    )
    assert corpus.sha256 == wanted.sha256


def test_several_references_of_a_table(tmp_path: Path) -> None:
    write_archive(tmp_path)
    rows = [{"id": 1, "article": source, "references": references} for source, references in DUC]
    write_table(tmp_path / "duc.jsonl", rows)
    write_duc(tmp_path / "DUC2003")
    corpus = load_folder(tmp_path, tests={"a": "duc.jsonl", "b": "DUC2003"})
    assert corpus.splits["a"] == corpus.splits["b"] == [Example(*pair) for pair in DUC]


def test_references_of_another_length_are_refused(tmp_path: Path) -> None:
    write_duc(write_archive(tmp_path) / "DUC2004")
    write(tmp_path / "DUC2004" / "task1_ref2.txt", ["one"])
    with pytest.raises(ValueError, match=r"task1_ref2\.txt must have a line 2 because .*input\.txt has one"):
        load_folder(tmp_path)
    write(tmp_path / "DUC2004" / "task1_ref2.txt", ["one", " "])
    with pytest.raises(ValueError, match=r"task1_ref2\.txt must have text in its last line, 2, because"):
        load_folder(tmp_path)


def test_the_form_of_gigaword() -> None:
    text = "Mr. Orlov's plan: build 12 plants (at $3.5 each) -- he said \u201cyes\u201d."
    tokens = 'mr. orlov \'s plan : build ## plants ( at $ #.# each ) -- he said " yes " .'
    assert gigaword_form(text) == tokens == gigaword_form(tokens)
    assert gigaword_form(text, title=True) == "mr. orlov 's plan build ## plants at #.# each he said yes"


def test_the_filter_of_training_pairs() -> None:
    source = " ".join(["word", *"abcdefghij"])
    assert passes_filter(source, "word a b c")
    assert not passes_filter(source.removesuffix(" j"), "word a b c")  # 10 tokens
    assert not passes_filter(source, "word a b")
    assert not passes_filter(source, "a b c d")  # no long word is shared
    assert passes_filter(" ".join(["word"] * 99), " ".join(["word"] * 49))
    assert not passes_filter(" ".join(["word"] * 100), "word a b c")
    assert not passes_filter(source, " ".join(["word"] * 50))


def test_train_is_filtered_and_only_train_and_dev_are_prepared(tmp_path: Path) -> None:
    long = "Rain fell on Sunday, Monday and Tuesday in 3 cities of Norway."
    write_archive(tmp_path)
    rows = [("Rain fell.", "No!"), (long, "Rain: 3 cities, Norway"), (long, "Rain, Rain! in 3 cities")]
    table = [{"article": source, "headline": title} for source, title in rows]
    write_table(tmp_path / "all.jsonl", table)
    write_table(tmp_path / "some.jsonl", table[:2])
    write_table(tmp_path / "other.jsonl", [{"article": "Rain fell.", "headline": "In 3 cities!"}])
    corpus = load_folder(
        tmp_path,
        train=["all.jsonl"],
        dev=["other.jsonl"],
        tests={"x": "some.jsonl"},
        rush_filter=True,
        prepare=True,
    )
    prepared = "rain fell on sunday , monday and tuesday in # cities of norway ."
    assert corpus.dropped["train"] == {"filter": 1, "pair_held_out": 1}  # whichever form the test set has
    assert corpus.splits["train"] == [Example(prepared, ("rain rain in # cities",))]
    assert corpus.splits["dev"] == [Example("rain fell .", ("in # cities",))]
    assert corpus.splits["x"][1] == Example(long, ("Rain: 3 cities, Norway",))
    assert corpus.splits["x"][0].target == "No!"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train": ["../x.csv"]}, "must stay inside"),
        ({"train": ["train/x.txt"]}, "must have a suffix of tables or article in its name, got neither"),
        ({"tests": {"train": "Giga"}}, "a test set must have a name of its own, got train"),
        ({"columns": {"x.csv": {"source": "a"}}}, r"columns must name tables that are read, got x\.csv"),
        (
            {"keep": {"dev": {"x.csv": {"a": "b"}}}},
            r"keep must name tables that dev is read from, got x\.csv",
        ),
        (
            {"train": ["x.csv"], "columns": {"x.csv": {"from": "a"}}},
            r"columns of x\.csv must name source and target, got from",
        ),
        ({"limit": 0}, "limit must be an integer of at least 1, got 0"),
        ({"max_chars": 0}, "max_chars must be an integer of at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_named(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_folder(write_archive(tmp_path), **arguments)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"must hold a file train\.article\.txt or .* got an empty folder"
    ):
        load_folder(tmp_path)
    write_archive(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"must hold a file x\.article or x\.article\.gz, got Giga, train"
    ):
        load_folder(tmp_path, train=["x.article"])
    (tmp_path / "Giga" / "task1_ref0.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"must hold a file task1_ref0\.txt or .* got input\.txt"):
        load_folder(tmp_path)


def test_the_hub_has_the_same_pairs(tmp_path: Path) -> None:
    rows = {
        {"dev": "validation"}.get(split, split): [
            {"document": source, "summary": target} for source, target in pairs
        ]
        for split, pairs in PAIRS.items()
    }
    hub = write_hub(tmp_path / "hub", rows)
    corpus = load_hub(str(hub), cache=tmp_path / "cache")
    with pytest.raises(ValueError, match=f"checksum of data.sha256, {'0' * 64}, got {corpus.sha256}"):
        load_hub(str(hub), sha256="0" * 64, cache=tmp_path / "cache")
    assert corpus.sha256 == load_folder(write_archive(tmp_path / "archive")).sha256


def test_real_test_sets_are_complete() -> None:
    root = SHARED / "summarization"
    if not (root / "gigaword_test.parquet").is_file():
        pytest.skip("the summarization files are not beside the repository")
    google = "google_compression_10k.parquet"
    tests = {"gigaword": "gigaword_test.parquet", "duc2004": "duc2004_test.parquet"}
    keep = {split: {google: {"split": split}} for split in ("train", "dev")}
    corpus = load_folder(root, "google", [google], [google], tests, keep=keep)
    assert corpus.sizes == {"train": 8000, "dev": 1000, "gigaword": 1951, "duc2004": 500}
    assert all(len(example.references) == 4 for example in corpus.splits["duc2004"])
    assert all(len(example.references) == 1 for example in corpus.splits["gigaword"])


@pytest.mark.measures("bad data")
def test_headlines_in_the_place_of_sentences_are_refused(tmp_path: Path) -> None:
    table = "source\ttarget\n" + "oil falls\toil prices fell on monday , officials said .\n" * 3
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.tsv").write_text(table)
    with pytest.raises(
        ValueError, match=r"train\.tsv must have headlines .* shorter .*, got 3 longer ones of 3"
    ):
        load_folder(tmp_path, train=["train.tsv"], dev=["dev.tsv"], tests={"test": "test.tsv"})


@pytest.mark.measures("bad data")
def test_anomalies_are_counted_for_every_file(tmp_path: Path) -> None:
    rows = {
        "a": ["a b\ta", "\t", "c d\ufffd\tc"],
        "b": ["e f\te", "x" * 99 + "\tx"],
        "dev": ["a b\ta", "g\tg"],
    }
    for name, lines in {**rows, "test": ["a b\ta"]}.items():
        (tmp_path / f"{name}.tsv").write_text("\n".join(["source\ttarget", *lines]))
    corpus = load_folder(
        tmp_path, train=["a.tsv", "b.tsv"], dev=["dev.tsv"], tests={"test": "test.tsv"}, max_chars=50
    )
    assert [note.removeprefix(f"{tmp_path}/") for note in corpus.notes] == [
        "a.tsv, for train: 3 read; dropped: 1 empty, 1 pair_held_out; kept, but suspicious: 1 replaced",
        "b.tsv, for train: 2 read; dropped: 1 too_long",
        "dev.tsv, for dev: 2 read; kept, but suspicious: 1 also_tested, 1 same_text",
    ]
