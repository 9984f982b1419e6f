"""A corpus is what its pairs are, whatever file they came from; nothing is left out unless it is counted."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tasks.data.corpus import checksum
from tasks.data.reader import Row, Source, read_rows
from tasks.entailment.data import (
    FORM,
    LABELS,
    SPLITS,
    Corpus,
    Pair,
    load_folder,
    load_hub,
    pairs_from_rows,
)

SHARED = Path(__file__).resolve().parents[3] / "../shared/data"
PAIRS = {
    "train": [("A cat sleeps.", "An animal rests.", "entailment"),
              ("A cat sleeps.", "A cat runs.", "contradiction"),
              ("Two boys don't swim.", "They are cold.", "neutral")],
    "dev": [("A goat eats.", "An animal eats.", "entailment")],
    "test": [("A bus stops.", "A bus flies.", "contradiction")],
}  # fmt: skip


def write(
    folder: Path, pairs: dict[str, list[tuple[Any, Any, Any]]], pattern: str = "snli_1.0_{}.jsonl"
) -> Path:
    for split, rows in pairs.items():
        lines = [
            json.dumps(
                {"gold_label": c, "sentence1": a, "sentence2": b, "pairID": "x", "annotator_labels": [c]}
            )
            for a, b, c in rows
        ]
        (folder / pattern.format(split)).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def row(premise: Any, hypothesis: Any, label: Any) -> Row:
    return Row("some.csv", 3, {"premise": premise, "hypothesis": hypothesis, "label": label})


def test_official_files_are_found(tmp_path: Path) -> None:
    corpus = load_folder(write(tmp_path, PAIRS))
    assert corpus.sizes == {"train": 3, "dev": 1, "test": 1} and corpus.name == "snli"
    assert corpus.dropped == {"train": {}, "dev": {}, "test": {}}
    pair = corpus.splits["train"][2]
    assert pair.premise == ("two", "boys", "do", "n't", "swim", ".") and LABELS[pair.label] == "neutral"
    assert pair.evidence is None


def test_checksum_is_of_the_content_alone(tmp_path: Path) -> None:
    here, there = tmp_path / "a", tmp_path / "b"
    here.mkdir()
    there.mkdir()
    one = load_folder(write(here, PAIRS))
    for split, rows in PAIRS.items():
        text = "".join(f"{a.replace('.', ' . ')}\t{b}\t{LABELS.index(c)}\n" for a, b, c in rows)
        (there / f"{split}.tsv").write_text("premise\thypothesis\tlabel\n" + text)
    assert load_folder(there, name="other").sha256 == one.sha256 == load_folder(here).sha256
    for change in [("A cat sits.", "x", "neutral"), ("A cat sleeps.", "An animal rests.", "neutral")]:
        changed = write(here, {"train": [change, *PAIRS["train"][1:]]})
        assert load_folder(changed).sha256 != one.sha256


def test_checksum_sees_order_and_split(tmp_path: Path) -> None:
    base = load_folder(write(tmp_path, PAIRS)).sha256
    assert load_folder(write(tmp_path, PAIRS | {"train": PAIRS["train"][::-1]})).sha256 != base
    assert load_folder(write(tmp_path, PAIRS | {"dev": PAIRS["test"], "test": PAIRS["dev"]})).sha256 != base


def test_checksum_sees_where_a_split_ends() -> None:
    pair = Pair(("a",), ("b",), 0)
    sums = [checksum({"train": [pair] * n, "dev": [pair] * (4 - n), "test": []}, FORM) for n in range(5)]
    assert len(set(sums)) == 5


@pytest.mark.parametrize(
    ("got", "wanted"),
    [("entailment", 0), ("neutral", 1), ("contradiction", 2), (0, 0), (1, 1), (2, 2), ("0", 0), ("2", 2)],
)
def test_labels_of_files_and_of_the_hub(got: Any, wanted: int) -> None:
    assert [pair.label for pair in pairs_from_rows([row("a", "b", got)])[0]] == [wanted]


def test_left_out_rows_are_counted_by_reason() -> None:
    rows = [
        row("a", "b", "-"),
        row("a", "b", ""),
        row("a", "b", -1),
        row("", "b", 0),
        row("a", " \u2028", 0),
        row(None, "b", 1),
    ]
    assert pairs_from_rows([*rows, row("a", "b", 2)])[1] == {"no_label": 3, "empty": 3}


@pytest.mark.parametrize("label", ["Neutral!", 3, None, 1.5, True, "hidden"])
def test_unknown_labels_are_named(label: Any) -> None:
    with pytest.raises(
        ValueError, match=r"some\.csv, row 3 must have a label among entailment, .* got " + repr(label)
    ):
        pairs_from_rows([row("a", "b", label)])


def test_sentences_must_be_text() -> None:
    with pytest.raises(ValueError, match=r"row 3 must have text as its hypothesis, got 5"):
        pairs_from_rows([row("a", 5, 0)])


def test_case_is_kept_on_request(tmp_path: Path) -> None:
    corpus = load_folder(write(tmp_path, PAIRS), lowercase=False)
    assert corpus.splits["dev"][0].premise[0] == "A"


def test_held_out_pairs_leave_training_and_are_counted(tmp_path: Path) -> None:
    leaks = [("a GOAT eats .", "An animal eats.", "neutral"), ("A bus stops.", "A bus waits.", "neutral")]
    write(tmp_path, PAIRS | {"train": [*leaks, *PAIRS["train"]]})
    plain, disjoint = load_folder(tmp_path), load_folder(tmp_path, disjoint_premises=True)
    assert plain.dropped["train"] == {"pair_held_out": 1} and plain.sizes["train"] == 4
    assert disjoint.dropped["train"] == {"pair_held_out": 1, "premise_held_out": 1}
    held_out = {pair.premise for split in ("dev", "test") for pair in disjoint.splits[split]}
    assert not held_out & {pair.premise for pair in disjoint.splits["train"]}
    assert disjoint.sizes["dev"] == disjoint.sizes["test"] == 1


def test_named_files_are_joined_and_filtered(tmp_path: Path) -> None:
    write(tmp_path, PAIRS)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "more.csv").write_text("premise,hypothesis,label,split\nA,b,0,train\nC,d,0,dev\n")
    corpus = load_folder(
        tmp_path, ["snli_1.0_train.jsonl", "sub/more.csv"], keep={"sub/more.csv": {"split": "train"}}
    )
    assert corpus.sizes["train"] == 4 and corpus.splits["train"][3].premise == ("a",)


def test_limit_keeps_the_first_pairs_of_every_split(tmp_path: Path) -> None:
    more = {split: [*rows, ("A man runs.", f"He has {split}.", "neutral")] for split, rows in PAIRS.items()}
    whole = load_folder(write(tmp_path, more))
    limited = load_folder(tmp_path, limit=1)
    assert limited.splits == {split: pairs[:1] for split, pairs in whole.splits.items()}
    assert limited.sizes == {"train": 1, "dev": 1, "test": 1} != whole.sizes


@pytest.mark.parametrize("name", ["../x.csv", "/etc/hosts", "a/../../x.csv", ".."])
def test_names_must_stay_inside(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="must stay inside"):
        load_folder(write(tmp_path, PAIRS), [name])


def test_missing_files_and_misspelt_filters_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError,
        match=r"must hold a file snli_1\.0_train\.jsonl or train\.parquet or .* got an empty folder",
    ):
        load_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="got no such folder"):
        load_folder(tmp_path / "none")
    write(tmp_path, PAIRS)
    with pytest.raises(ValueError, match=r"keep must name files that are read, got trian\.csv"):
        load_folder(tmp_path, keep={"trian.csv": {"split": "train"}})
    with pytest.raises(ValueError, match="limit must be an integer of at least 1, got 0"):
        load_folder(tmp_path, limit=0)


def test_a_split_without_pairs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"the dev split of snli must have a pair, got none; dropped: no_label 1"
    ):
        load_folder(write(tmp_path, PAIRS | {"dev": [("a", "b", "-")]}))


def test_the_hub_has_the_same_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {
        split: [
            Row("hub", i, {"premise": a, "hypothesis": b, "label": LABELS.index(c)})
            for i, (a, b, c) in enumerate(pairs)
        ]
        for split, pairs in PAIRS.items()
    }
    sources = {split: [Source(split, partial(iter, of_split))] for split, of_split in rows.items()}
    monkeypatch.setattr("tasks.entailment.data.hub_sources", lambda *where, **options: sources)
    assert load_hub().sha256 == load_folder(write(tmp_path, PAIRS)).sha256
    found = load_hub().sha256
    assert load_hub(sha256=found).sha256 == found
    with pytest.raises(
        ValueError, match=f"snli must have the checksum of data.sha256, {'0' * 64}, got {found}"
    ):
        load_hub(sha256="0" * 64)


@pytest.fixture(scope="module")
def real() -> Corpus:
    if not (SHARED / "snli/snli_dev.parquet").is_file():
        pytest.skip("the SNLI files are not beside the repository")
    train, dev, test = (f"snli/{name}.parquet" for name in ("cad_nli", "snli_dev", "snli_test"))
    return load_folder(
        SHARED, [train], [dev], [test], keep={train: {"split": "train"}}, disjoint_premises=True
    )


def test_real_splits_are_complete(real: Corpus) -> None:
    assert (real.sizes["dev"], real.sizes["test"]) == (9842, 9824)
    assert real.sizes["train"] + sum(real.dropped["train"].values()) == 8330
    assert all(set(pair.label for pair in real.splits[split]) == {0, 1, 2} for split in SPLITS)


def test_real_raw_sentences_come_out_like_the_treebank_ones(real: Corpus) -> None:
    columns = {"premise": ("premise",), "hypothesis": ("hypothesis",), "label": ("gold_label",)}
    raw, _ = pairs_from_rows(read_rows(SHARED / "snli/snli_dev_untokenised.parquet", columns))
    known = {(pair.premise, pair.hypothesis) for pair in real.splits["dev"]}
    assert sum((pair.premise, pair.hypothesis) in known for pair in raw) > 0.99 * len(raw) > 9000
