"""Get the data of tier small from where it is public: `make data`, into data/small, which its recipes read.

Every file is fetched at a fixed commit of a public repository and held against its SHA-256, then made a
table, which is held against the checksum of what it says. Tables that are there already are left alone.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import re
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from omegaconf import OmegaConf

from scripts import cli
from scripts.cli import UsageError
from tasks.checks import check_installed
from tasks.data.files import first_line, write_atomically

SOURCES = Path(__file__).with_name("data_sources.yaml")
URL = "https://raw.githubusercontent.com/{repository}/{commit}/{file}"
MOST_BYTES = 2**26
"""Of a file, packed or not: the largest has 3.4 MB."""

Row = dict[str, Any]
Build = Callable[[Mapping[str, bytes]], Iterator[Row]]


def get(source: Mapping[str, Any], cache: Path) -> dict[str, bytes]:
    """The files of a source by their names, from ``cache`` or from the network."""
    found = {}
    for name, sha256 in source["files"].items():
        kept = cache / sha256
        data = kept.read_bytes() if kept.is_file() else _download(source, name)
        if (got := hashlib.sha256(data).hexdigest()) != sha256:
            kept.unlink(missing_ok=True)
            raise UsageError(f"{source['repository']}/{name} must have the SHA-256 {sha256}, got {got}")
        if not kept.is_file():
            cache.mkdir(parents=True, exist_ok=True)
            write_atomically(kept, [data])
        found[name] = data
    return found


def _download(source: Mapping[str, Any], name: str) -> bytes:
    url = URL.format(repository=source["repository"], commit=source["commit"], file=name)
    try:
        with urlopen(url, timeout=30) as response:
            data: bytes = response.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{url} must be there to be read, got: {first_line(error)}") from error
    if len(data) > MOST_BYTES:
        raise UsageError(f"{url} must have at most {MOST_BYTES:,} bytes, got more")
    return data


# ------------------------------------------------------------------ from files to rows
def _lines(data: bytes) -> list[str]:
    """Lines ended by line feeds, as they stand."""
    return data.decode().removesuffix("\n").split("\n")


def by_lines(files: Mapping[str, bytes], columns: Mapping[str, str] | None = None) -> Iterator[Row]:
    """Files whose lines of one number belong together; what each is called its name or language tells."""
    sides = {}
    for name, data in files.items():
        stem, language, *packed = Path(name).name.split(".")
        sides[columns[stem] if columns else language] = _lines(gzip.decompress(data) if packed else data)
    for row in zip(*sides.values(), strict=True):
        yield dict(zip(sides, (text.strip() for text in row), strict=True))


def tab_separated(files: Mapping[str, bytes]) -> Iterator[Row]:
    """One archive with one list of English and French sentences, tabs between them."""
    (data,) = files.values()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        (name,) = [name for name in archive.namelist() if Path(name).name == "fra.txt"]
        text = archive.open(name).read(MOST_BYTES)
    for line in _lines(text):
        english, french, *_ = line.split("\t")
        yield {"en": english, "fr": french}


def alignments(files: Mapping[str, bytes]) -> Iterator[Row]:
    """Pairs ``source ||| target``, and beside them links from 1: ``i-j`` if sure, ``ipj`` if possible."""
    pairs, links = (_lines(files[name]) for name in sorted(files, reverse=True))
    for pair, line in zip(pairs, links, strict=True):
        source, target = (side.strip() for side in pair.split("|||"))
        found: dict[str, list[list[int]]] = {"-": [], "p": []}
        for i, kind, j in re.findall(r"(\d+)([-p])(\d+)", line):
            found[kind].append([int(i) - 1, int(j) - 1])
        yield {"src": source, "tgt": target, "sure": found["-"], "possible": found["p"]}


def summaries(files: Mapping[str, bytes]) -> Iterator[Row]:
    """Objects with a text and its summaries, line by line."""
    (data,) = files.values()
    for line in _lines(data):
        item = json.loads(line)
        yield {"id": item["id"], "article": item["text"], "references": item["summaries"]}


def compressions(files: Mapping[str, bytes]) -> Iterator[Row]:
    """Sentences and their compressions: the first thousand for testing, as usual, the next for choosing."""
    columns = {"sentence_en": "sentence", "compression_en": "compression"}
    for number, row in enumerate(by_lines(files, columns)):
        yield {**row, "split": "test" if number < 1000 else "dev" if number < 2000 else "train"}


def revisions(files: Mapping[str, bytes]) -> Iterator[Row]:
    """Tables of pairs, ``<subset>/<split>.tsv``."""
    for name, data in files.items():
        subset, split = Path(name).parent.name, Path(name).stem
        for row in csv.DictReader(io.StringIO(data.decode()), delimiter="\t", quoting=csv.QUOTE_NONE):
            sentences = {"premise": row["sentence1"], "hypothesis": row["sentence2"]}
            yield {**sentences, "gold_label": row["gold_label"], "subset": subset, "split": split}


BUILDERS: dict[str, Build] = {
    "parallel": by_lines,
    "headlines": partial(by_lines, columns={"input": "article", "task1_ref0": "headline"}),
    "entailment": partial(by_lines, columns={"s1": "premise", "s2": "hypothesis", "labels": "gold_label"}),
    **{build.__name__: build for build in (tab_separated, alignments, summaries, compressions, revisions)},
}


def checksum(rows: Sequence[Row]) -> str:
    """SHA-256 of what the rows say, in whatever file they stand."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, separators=(",", ":")).encode() + b"\n")
    return digest.hexdigest()


def make_table(target: str, source: Mapping[str, Any], root: Path) -> bool:
    """Make a table of ``root``, unless it is there, and return whether it was made."""
    import pyarrow
    import pyarrow.parquet

    file = root / target
    if file.exists():
        return False
    rows = list(BUILDERS[source["build"]](get(source, root / "sources")))
    if (got := checksum(rows)) != source["sha256"]:
        raise UsageError(f"{target} must say what has the SHA-256 {source['sha256']}, got {got}")
    file.parent.mkdir(parents=True, exist_ok=True)
    packed = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), packed, compression="zstd")
    write_atomically(file, [packed.getvalue()])
    return True


def main(arguments: Sequence[str]) -> None:
    """Make all tables of a tier, and say which of its files have to be had elsewhere."""
    parser = cli.Parser(prog="make data", description=__doc__)
    parser.add_argument("--tier", choices=("small",), default="small", help="the one whose data can be had")
    given = parser.parse_args(arguments)
    check_installed("pyarrow", "make data")
    root = Path("data") / given.tier
    sources = OmegaConf.to_container(OmegaConf.load(SOURCES))
    assert isinstance(sources, dict)
    for target, source in sources["tables"].items():
        made = make_table(target, source, root)
        print(
            f"{root / target}: {source['rows']:,} rows{'' if made else ', there already'}; {source['terms']}"
        )
    for target, where in sources["elsewhere"].items():
        if not (root / target).exists():
            print(f"{root / target}: to be had elsewhere: {where}", file=sys.stderr)


if __name__ == "__main__":
    cli.main(lambda: main(sys.argv[1:]))
