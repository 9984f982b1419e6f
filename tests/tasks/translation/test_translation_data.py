"""A corpus is what its sentences are, whatever files they came from, in both directions."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tasks.data.corpus import hold_out, items_of, read_part
from tasks.data.reader import Source
from tasks.seq2seq.data import FORM, Corpus, Example, Rule
from tasks.translation.data import load_folder, load_hub
from tests.generated_corpus import write_hub

SHARED = Path(__file__).resolve().parents[3] / "../shared/data"
PAIRS = {
    "train": [("ein Hund .", "a dog ."), ("eine Katze \u2028 .", "a cat ."), ("ein \u00c4pfel", "an apple")],
    "val": [("ein Haus", "a house")],
    "test": [("die T\u00fcr", "the door"), ("das Dach", "the roof")],
}


def write_text(folder: Path, pairs: dict[str, list[tuple[str, str]]] = PAIRS, packing: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    for split, rows in pairs.items():
        for language, side in zip(("de", "en"), zip(*rows, strict=True), strict=True):
            data = "".join(f"{text}\n" for text in side).encode()
            path = folder / f"{split}.{language}{packing}"
            path.write_bytes(gzip.compress(data) if packing else data)
    return folder


def write_rows(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file.parent


def as_rows(pairs: list[tuple[str, str]], **more: str) -> list[dict[str, Any]]:
    return [{"de": de, "en": en, **more} for de, en in pairs]


@pytest.mark.parametrize("packing", ["", ".gz"])
def test_usual_text_files_are_found(tmp_path: Path, packing: str) -> None:
    corpus = load_folder(write_text(tmp_path / "c", packing=packing))
    assert (corpus.name, corpus.languages, corpus.tokenized) == ("parallel-de-en", ("de", "en"), False)
    assert corpus.sizes == {"train": 3, "dev": 1, "test": 2}
    assert corpus.dropped == {"train": {}, "dev": {}, "test": {}}
    assert corpus.splits["train"][1] == Example("eine Katze \u2028 .", ("a cat .",))


def test_every_format_gives_the_same_corpus(tmp_path: Path) -> None:
    wanted = load_folder(write_text(tmp_path / "text")).sha256
    rows = {split: as_rows(pairs) for split, pairs in PAIRS.items()}
    for suffix in (".jsonl", ".tsv", ".parquet"):
        folder = tmp_path / suffix[1:]
        folder.mkdir()
        for split, content in rows.items():
            file = folder / f"{split}{suffix}"
            if suffix == ".jsonl":
                write_rows(file, content)
            elif suffix == ".tsv":
                file.write_text("de\ten\n" + "".join(f"{row['de']}\t{row['en']}\n" for row in content))
            else:
                arrow = pytest.importorskip("pyarrow")
                pytest.importorskip("pyarrow.parquet").write_table(arrow.Table.from_pylist(content), file)
        assert load_folder(folder).sha256 == wanted


def test_the_other_direction_has_the_sides_exchanged(tmp_path: Path) -> None:
    forth, back = (load_folder(write_text(tmp_path / "c"), pair) for pair in ("de-en", "en-de"))
    assert back.languages == ("en", "de") and back.sha256 != forth.sha256
    for split, examples in forth.splits.items():
        turned = [Example(example.target, (example.source,)) for example in back.splits[split]]
        assert turned == examples


def test_named_files_columns_filters_and_several_test_sets(tmp_path: Path) -> None:
    write_text(tmp_path)
    rows = [
        {"German": "rot", "English": "red", "set": "a"},
        {"German": "blau", "English": "blue", "set": "b"},
    ]
    write_rows(tmp_path / "more.jsonl", rows)
    corpus = load_folder(
        tmp_path,
        name="x",
        train=["more.jsonl"],
        dev="val",
        tests={"news": "more.jsonl", "plain": "test"},
        columns={"de": "German", "en": "English"},
        keep={"train": {"more.jsonl": {"set": "a"}}, "news": {"more.jsonl": {"set": "b"}}},
    )
    assert corpus.test_splits == ("news", "plain") and corpus.name == "x-de-en"
    assert corpus.splits["train"] == [Example("rot", ("red",))]
    assert corpus.splits["news"] == [Example("blau", ("blue",))]


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    leaks = [PAIRS["val"][0], PAIRS["test"][1], ("ein Haus", "one house")]
    rows = [*PAIRS["train"], *leaks, ("", ""), ("x" * 10_001, "long")]
    corpus = load_folder(write_text(tmp_path / "c", PAIRS | {"train": rows}), limit=2)
    assert corpus.dropped["train"] == {"empty": 1, "too_long": 1, "pair_held_out": 2}
    assert corpus.sizes == {"train": 2, "dev": 1, "test": 2}
    long = load_folder(tmp_path / "c", max_chars=10_001)
    assert long.sizes["train"] + sum(long.dropped["train"].values()) == len(rows)
    assert long.dropped["train"] == {"empty": 1, "pair_held_out": 2}


def test_entities_of_tokenized_text_become_characters(tmp_path: Path) -> None:
    rows = [("d&apos; un &amp;quot; &#91; &#93; &#124;", "&lt; &gt; &quot; &amp;")]
    write_text(tmp_path, PAIRS | {"train": rows})
    corpus = load_folder(tmp_path, tokenized=True)
    assert corpus.tokenized
    assert corpus.splits["train"] == [Example("d' un &quot; [ ] |", ('< > " &',))]
    assert load_folder(tmp_path).splits["train"][0].source == rows[0][0]


def many(size: int) -> list[Example]:
    """Every third target twice, every fifth source twice, in two cases with two spaces."""
    starts = ("Z ", "z\u202f")
    return [Example(f"Q {i - i % 5 // 4}", (f"{starts[i % 2]}{i - i % 3 // 2}",)) for i in range(size)]


def held_out(folder: Path, examples: list[Example], sizes: dict[str, int]) -> dict[str, list[Example]]:
    """As from two files."""
    sources = Source("a", lambda: examples[:100]), Source("b", lambda: examples[100:])
    parts = [read_part(source, Rule(), FORM, folder) for source in sources]
    splits = hold_out(parts, sizes, lambda example: (example.source, example.target))
    return {split: list(items_of(found)) for split, found in splits.items()}


def test_no_sentence_is_held_out_and_trained_on(tmp_path: Path) -> None:
    examples = many(600)
    splits = held_out(tmp_path, examples, {"dev": 40, "test": 50})
    assert list(splits) == ["train", "dev", "test"]
    assert len(splits["dev"]) == 40 and len(splits["test"]) == 50 and len(splits["train"]) > 400
    for side in ("source", "target"):
        texts = [{getattr(e, side).lower().replace("\u202f", " ") for e in part} for part in splits.values()]
        assert not (texts[0] & texts[1] or texts[0] & texts[2] or texts[1] & texts[2])
    places = {example: place for place, example in reversed(list(enumerate(examples)))}
    assert all([places[e] for e in part] == sorted(places[e] for e in part) for part in splits.values())
    assert all(example in places for part in splits.values() for example in part)


def test_the_same_sentences_are_held_out_of_any_order(tmp_path: Path) -> None:
    examples = [Example(f"q {i}", (f"z {i}",)) for i in range(300)]
    one, other = (held_out(tmp_path, order, {"dev": 20, "test": 20}) for order in (examples, examples[::-1]))
    assert all(set(one[split]) == set(other[split]) for split in one)
    assert set(one["dev"]) != set(examples[:20])


def test_held_out_sets_of_a_folder(tmp_path: Path) -> None:
    pairs = [(f"satz {i // 2}", f"sentence {i // 3}") for i in range(300)]
    write_rows(tmp_path / "all.jsonl", as_rows(pairs))
    corpus = load_folder(tmp_path, train=["all.jsonl"], held_out={"dev": 30, "test": 30})
    assert list(corpus.splits) == ["train", "dev", "test"]
    assert corpus.sizes["dev"] == corpus.sizes["test"] == 30
    assert corpus.sizes["train"] + sum(corpus.dropped["train"].values()) + 60 == 300
    assert corpus.dropped["train"]["sentence_held_out"] > 0
    with pytest.raises(ValueError, match=r"held_out must have more than 300 pairs to take dev from, got 300"):
        load_folder(tmp_path, train=["all.jsonl"], held_out={"dev": 300, "test": 1})
    with pytest.raises(ValueError, match="dev must have a file or a number of held_out, got both: x and 3"):
        load_folder(tmp_path, train=["all.jsonl"], dev="x", held_out={"dev": 3, "test": 1})


GOLD = {"src": "the big dog", "tgt": "le gros chien", "sure": [[0, 0], [2, 2]], "possible": [[1, 1]]}


def test_gold_alignments_follow_the_direction(tmp_path: Path) -> None:
    rows = {"train": [("un", "one")], "val": [("deux", "two")], "test": [("trois", "three")]}
    for split, pairs in rows.items():
        write_rows(tmp_path / f"{split}.jsonl", [{"fr": fr, "en": en} for fr, en in pairs])
    gold = GOLD | {"tgt": "le  chien gros", "sure": [[0, 0], [2, 1]], "possible": [[1, 2], [0, 0]]}
    write_rows(tmp_path / "gold.jsonl", [gold])
    option = {"hansards": {"file": "gold.jsonl", "pair": "en-fr"}}
    forth, back = (load_folder(tmp_path, pair, alignments=option) for pair in ("en-fr", "fr-en"))
    assert forth.test_splits == back.test_splits == ("test", "hansards")
    (one,), (other,) = forth.splits["hansards"], back.splits["hansards"]
    assert (one.source, one.references) == ("the big dog", ("le chien gros",))
    assert (other.source, other.references) == ("le chien gros", ("the big dog",))
    assert one.links and other.links
    assert one.links.sure == {(0, 0), (2, 1)} and one.links.possible == {(0, 0), (2, 1), (1, 2)}
    assert other.links.sure == {(0, 0), (1, 2)} and other.links.possible == {(0, 0), (1, 2), (2, 1)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sure": [[0, 3]]}, "row 1 must have sure links within 3 and 3 words, got"),
        ({"possible": [[-1, 0]]}, "row 1 must have possible links within 3 and 3 words, got"),
        ({"sure": [[0, 1, 2]]}, "row 1 must have sure links that are pairs of word positions, got"),
    ],
)
def test_links_to_no_word_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write_text(tmp_path)
    write_rows(tmp_path / "gold.jsonl", [GOLD | change])
    with pytest.raises(ValueError, match=message):
        load_folder(tmp_path, alignments={"gold": {"file": "gold.jsonl", "pair": "de-en"}})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pair": "de"}, "pair must be two languages such as de-en, got 'de'"),
        ({"pair": "en-en"}, "pair must be two languages such as de-en, got 'en-en'"),
        ({"train": ["../x"]}, r"must stay inside .*, got '\.\./x'"),
        ({"dev": "/etc/hosts"}, "must stay inside"),
        ({"tests": {"dev": "test"}}, "a test set must have a name of its own, got dev"),
        ({"tests": {"x": "test"}, "alignments": {"x": {}}}, "a test set must have a name of its own, got x"),
        ({"alignments": {"test": {}}}, "a test set must have a name of its own, got test"),
        ({"tests": {"x": "test"}, "held_out": {"x": 1}}, "a test set must have a name of its own, got x"),
        (
            {"keep": {"train": {"x.csv": {"a": "b"}}}},
            r"keep must name tables that train is read from, got x\.csv",
        ),
        (
            {"alignments": {"x": {"file": "a", "pair": "fr-en"}}},
            "must be of the languages of de-en, got fr-en",
        ),
        ({"alignments": {"x": {"file": "a"}}}, "alignments must name a file and a pair, got file"),
        ({"limit": 0}, "limit must be an integer of at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_named(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_folder(write_text(tmp_path / "c"), **arguments)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"must hold a file train\.de or .* got an empty folder"):
        load_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="got no such folder"):
        load_folder(tmp_path / "none")
    write_text(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"must hold a file train\.fr or train\.fr\.gz, got test\.de"):
        load_folder(tmp_path, "fr-en", train=["train"], dev="train", tests={})
    with pytest.raises(ValueError, match=r"must have a column fr"):
        write_rows(tmp_path / "t.jsonl", as_rows(PAIRS["train"]))
        load_folder(tmp_path, "fr-en", train=["t.jsonl"], dev="t.jsonl", tests={"x": "t.jsonl"})


@pytest.mark.parametrize("nested", [True, False])
def test_the_hub_has_the_same_pairs(tmp_path: Path, nested: bool) -> None:
    """In a folder as the hub has them: columns of languages, or one of dictionaries."""
    rows = {
        {"val": "validation"}.get(split, split): [
            {"translation": row} if nested else row for row in as_rows(pairs)
        ]
        for split, pairs in PAIRS.items()
    }
    hub = write_hub(tmp_path / "hub", rows)
    corpus = load_hub(str(hub), cache=tmp_path / "cache")
    with pytest.raises(ValueError, match=f"checksum of data.sha256, {'0' * 64}, got {corpus.sha256}"):
        load_hub(str(hub), sha256="0" * 64, cache=tmp_path / "cache")
    assert corpus.sha256 == load_folder(write_text(tmp_path / "text")).sha256
    assert corpus.languages == ("de", "en")
    assert load_hub(str(hub), pair="en-de", cache=tmp_path / "cache").splits["dev"][0].source == "a house"


def shared(*names: str) -> Path:
    if not all((SHARED / "translation" / name).is_file() for name in names):
        pytest.skip("the translation files are not beside the repository")
    return SHARED / "translation"


def test_real_alignments_link_translations() -> None:
    root = shared("alignment_gold_enfr.parquet", "multi30k_raw/val.parquet")
    file = "multi30k_raw/val.parquet"
    small = "multi30k_raw/test_2017_mscoco.parquet"
    gold = {"hansards": {"file": "alignment_gold_enfr.parquet", "pair": "en-fr"}}
    corpus = load_folder(root, "fr-en", train=[file], dev=small, tests={}, alignments=gold)
    words = [
        (e.source.split(" ")[i].lower(), e.target.split(" ")[j].lower())
        for e in corpus.splits["hansards"]
        if e.links
        for i, j in e.links.sure
    ]
    assert corpus.sizes["hansards"] == 447 and len(words) > 4000
    french = [target for source, target in words if source == "gouvernement"]
    assert len(french) > 20 and french.count("government") / len(french) > 0.9


def test_real_captions_are_complete() -> None:
    root = shared("multi30k_raw/train.parquet")
    names = ("test_2016_flickr", "test_2017_flickr", "test_2017_mscoco")
    corpus: Corpus = load_folder(
        root,
        train=["multi30k_raw/train.parquet"],
        dev="multi30k_raw/val.parquet",
        tests={name: f"multi30k_raw/{name}.parquet" for name in names},
    )
    assert list(corpus.sizes.values()) == [29000, 1014, 1000, 1000, 461]
    assert not any(corpus.dropped.values())


@pytest.mark.measures("bad data")
@pytest.mark.parametrize(
    ("field", "got"), [("sure", 5), ("sure", [[True, 0]]), ("possible", "0-0"), ("src", 5), ("src", ["a"])]
)
def test_alignments_that_are_none_are_refused(tmp_path: Path, field: str, got: Any) -> None:
    for split in ("train", "dev", "test"):
        for language in ("de", "en"):
            (tmp_path / f"{split}.{language}").write_text(f"{split} {language}\n")
    row = {"src": "a b", "tgt": "c d", "sure": [[0, 0]], "possible": []}
    (tmp_path / "gold.jsonl").write_text(json.dumps({**row, field: got}))
    with pytest.raises(ValueError, match=r"gold\.jsonl, row 1 must have .*, got"):
        load_folder(tmp_path, alignments={"gold": {"file": "gold.jsonl", "pair": "de-en"}})


@pytest.mark.measures("bad data")
@pytest.mark.parametrize("name", ["../../outside", "a/b", "", ".."])
def test_a_test_set_whose_outputs_would_lie_outside_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"a test set must have a name of letters, .*, got"):
        load_folder(tmp_path, train=["train"], dev="dev", tests={name: "test"})


@pytest.mark.measures("bad data")
def test_references_of_other_numbers_are_refused_at_once(tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        lines = [{"de": f"{split} ja", "en": "yes"}, {"de": f"{split} nein", "en": ["no", "nay"]}]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(ValueError, match=r"train must have the same number of references .*, got 1 and 2"):
        load_folder(tmp_path)
