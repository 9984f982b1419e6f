"""Vectors come from the right line of the file, or from the word itself."""

import gzip
import hashlib
import os
import random
import zipfile
from pathlib import Path

import pytest
import torch

from tasks.data.vocabulary import PAD, UNK, Vocabulary, load_vectors, random_vectors

GLOVE = "the 1 2 3\n, -0.5 0.25 1e-2\ndog 4 5 6\nh\u00fctte 7 8 9\n"
WORDS = Vocabulary(["dog", "zebra", "h\u00fctte", ","])


def write(folder: Path, text: str | bytes, name: str = "v.txt") -> Path:
    data = text.encode() if isinstance(text, str) else text
    path = folder / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(data))
    elif name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("v.txt", data)
    else:
        path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", ["v.txt", "v.txt.gz", "v.zip"])
def test_vectors_of_the_file_are_read_exactly(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, GLOVE, name)
    vectors = load_vectors(path, WORDS)
    assert vectors.weights.dtype == torch.float32 and vectors.weights.shape == (6, 3)
    assert vectors.weights[[2, 4, 5]].tolist() == [[4, 5, 6], [7, 8, 9], [-0.5, 0.25, pytest.approx(0.01)]]
    assert (vectors.found, vectors.coverage) == (3, 0.75) and vectors.weights.shape == (6, 3)
    assert vectors.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize(
    "text",
    [
        "4 3\n" + GLOVE,
        "\ufeff" + GLOVE,
        "\ufeff4 3\n" + GLOVE,
        GLOVE.replace("dog", "\ufeffdog"),
        "5 3\n. . . 1 1 1\n" + GLOVE,
        GLOVE.replace(" ", "\t"),
        "4\t3\n" + GLOVE.replace(" ", "\t", 1).replace("dog ", "dog\t"),
        GLOVE.replace("dog 4 5", " dog  4\t 5 "),
        GLOVE.replace("\n", "\r\n"),
        GLOVE.replace("\n", " \n"),
        GLOVE[:-1],
    ],
)
def test_header_marks_line_ends_and_blanks_do_not_matter(tmp_path: Path, text: str) -> None:
    plain = load_vectors(write(tmp_path, GLOVE, "plain.txt"), WORDS)
    assert torch.equal(load_vectors(write(tmp_path, text), WORDS).weights, plain.weights)


def test_words_with_spaces_are_passed_over(tmp_path: Path) -> None:
    odd = GLOVE + ". . . 1 1 1\ndog name@domain.com 2 2 2\ndog\u2028 3 3 3\ndog\u00a0x 3 3 3\n"
    assert load_vectors(write(tmp_path, odd), WORDS).weights[2].tolist() == [4, 5, 6]


def test_the_first_of_two_equal_words_counts(tmp_path: Path) -> None:
    assert load_vectors(write(tmp_path, GLOVE + "dog 0 0 0\n"), WORDS).weights[2].tolist() == [4, 5, 6]


def test_padding_is_zero_and_unknown_is_not(tmp_path: Path) -> None:
    weights = load_vectors(write(tmp_path, GLOVE), WORDS).weights
    assert not weights[PAD].any() and weights[UNK].all() and weights[3].all()


def test_drawn_vectors_depend_on_the_word_alone(tmp_path: Path) -> None:
    path = write(tmp_path, GLOVE)
    drawn = load_vectors(path, Vocabulary(["dog", "zebra"])).weights[3]
    alike = load_vectors(path, Vocabulary(["lynx", "zebra", "dog"])).weights
    assert torch.equal(drawn, alike[3]) and not torch.equal(drawn, alike[2])
    direction = random_vectors(Vocabulary(["zebra"]), 3).weights[2]
    torch.testing.assert_close(drawn / drawn.norm(), direction / direction.norm())


def test_drawn_vectors_have_the_scale_of_those_found(tmp_path: Path) -> None:
    rows = torch.randn(400, 50, generator=torch.Generator().manual_seed(0)) * 0.7
    text = "".join(f"w{i} " + " ".join(map(str, row)) + "\n" for i, row in enumerate(rows.tolist()))
    words = Vocabulary([f"{kind}{i}" for kind in "wx" for i in range(400)])
    weights = load_vectors(write(tmp_path, text), words).weights
    assert weights[402:].std().item() == pytest.approx(weights[2:402].std().item(), rel=0.02)
    assert abs(weights[402:].mean().item()) < 0.02


def test_random_vectors_have_the_scale_of_glove() -> None:
    vectors = random_vectors(Vocabulary(map(str, range(500))), 40)
    assert vectors.weights[1:].std().item() == pytest.approx(0.4, rel=0.03) and not vectors.weights[PAD].any()
    assert (vectors.found, vectors.sha256, vectors.coverage) == (0, None, 0.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            GLOVE + "cat 1 2\n",
            "line 5 must have a word and 3 numbers, with spaces or tabs between them, got 2 numbers",
        ),
        ("\n" + GLOVE, "line 1 must have a word and its numbers, .*, got 0 numbers"),
        (GLOVE + "cat 1 2 3 4\n", "line 5 must have a word and 3 numbers, .*, got 4 numbers"),
        (GLOVE + "\n", "line 5 must have a word and 3 numbers, .*, got 0 numbers"),
        ("the,1,2,3\n", "line 1 must have a word and its numbers, with spaces or tabs .*, got 0 numbers"),
        ("the 1 2 3\ndog 1 nan 3\n", "line 2 must have finite numbers, got nan"),
        ("the 1 2 3\ndog 1 -inf 3\n", "line 2 must have finite numbers, got -inf"),
        ("the 1 2 3\ndog 1 1e39 3\n", "line 2 must have finite numbers, got 1e"),
        ("the 1 2 3\ndog 1 x 3\n", "line 2 must have numbers, got one that is none: .*x"),
        ("5 3\n" + GLOVE, r"must have the 5 vectors of its first line, got 4"),
        ("4 3\n", r"must have the 4 vectors of its first line, got 0"),
        ("", "must hold data, got an empty file"),
        ("other 1 2 3\n", "at least one of 6 words, got none"),
        (
            GLOVE.encode() + b"ca\xff 1 2 3\n",
            f"must be UTF-8, got byte 0xff at offset {len(GLOVE.encode()) + 2}",
        ),
    ],
)
def test_bad_content_is_named(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_vectors(write(tmp_path, text), WORDS)


@pytest.mark.parametrize("name", ["v.txt.gz", "v.zip"])
def test_truncated_archives_are_rejected(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, GLOVE * 50, name)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"must be a whole g?zip .*, got"):
        load_vectors(path, WORDS)


def test_a_zip_of_several_files_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../a.txt", GLOVE)
        archive.writestr("b.txt", "dog 1 2\n")
    with pytest.raises(ValueError, match=r"must have one \.txt file .* got \.\./a\.txt, b\.txt"):
        load_vectors(path, WORDS)
    assert os.listdir(tmp_path) == ["v.zip"] and not (tmp_path.parent / "a.txt").exists()


def test_missing_files_and_directories_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.txt must be a file, got nothing"):
        load_vectors(tmp_path / "none.txt", WORDS)
    with pytest.raises(IsADirectoryError, match="got a directory"):
        load_vectors(tmp_path, WORDS)
    with pytest.raises(ValueError, match="dim must be an integer of at least 1, got 0"):
        random_vectors(WORDS, 0)


@pytest.mark.measures("bad data")
@pytest.mark.parametrize("packing", ["ZIP_STORED", "ZIP_DEFLATED", "ZIP_BZIP2", "ZIP_LZMA"])
def test_an_archive_damaged_anywhere_is_named_or_harmless(tmp_path: Path, packing: str) -> None:
    path, chance = tmp_path / "v.zip", random.Random(1)
    with zipfile.ZipFile(path, "w", getattr(zipfile, packing)) as archive:
        archive.writestr("v.txt", GLOVE * 9)
    whole, refused = path.read_bytes(), 0
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] = chance.randrange(256)
        path.write_bytes(damaged[: None if chance.random() < 0.9 else chance.randrange(1, len(whole))])
        try:
            load_vectors(path, WORDS)
        except ValueError as error:
            assert "v.zip" in str(error) and "got" in str(error)
            refused += 1
    assert refused > 50


def test_a_line_of_vectors_of_200_mb_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_bytes(b"the 1 2\ndog" + b" 1" * 1_000_000)
    with pytest.raises(ValueError, match="lines of at most 1,048,576 bytes, got a longer one at offset 8"):
        load_vectors(path, Vocabulary(["the", "dog"]))
