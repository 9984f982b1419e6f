"""The data behind the paper's tables: what each tier needs, where it comes from, on what terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """A corpus, or a file of vectors, that somebody else offers.

    Args:
        name: what it is called.
        size: what is in it, and what there is to download.
        files: what to give, and where in it they are looked for.
        where: to get it.
        terms: its licence, and what has to be done before it may be had.
    """

    name: str
    size: str
    files: str
    where: str
    terms: str


_SNLI = Source(
    "SNLI 1.0",
    "550,152 / 10,000 / 10,000 pairs, those without a gold label are dropped; about 95 MB",
    "",
    "https://nlp.stanford.edu/projects/snli/; read by itself from the Hugging Face hub, stanfordnlp/snli",
    "CC BY-SA 4.0, no registration",
)
_GLOVE = Source(
    "GloVe 840B.300d",
    "2.2 million words; about 2 GB packed, which is read as it is",
    "task.vectors: the file",
    "https://nlp.stanford.edu/projects/glove/",
    "ODC PDDL 1.0, no registration",
)
_GIGAWORD = Source(
    "Gigaword, prepared for headlines",
    "3,803,957 / 189,651 / 1,951 pairs; 578 MB",
    "with DUC 2004: data=gigaword/folder data.root=<the folder sumdata>",
    "read by itself from the Hugging Face hub, gigaword; sumdata: harvardnlp/sent-summary on GitHub",
    "made from the LDC's Annotated Gigaword (LDC2012T21), whose licence holds for the text",
)
_DUC = Source(
    "DUC 2004, task 1",
    "500 sentences with 4 references each; below 1 MB",
    "in the folder sumdata, see above; the hub has none",
    "https://duc.nist.gov/data.html",
    "after signing the user agreement of NIST; for research",
)
_FRENCH = Source(
    "French–English pairs",
    "which corpora the paper's ten pairs of languages are of is not known; this pair is one of them",
    "data.root: a folder with train, val and test, each .fr and .en; or data=translation/hub in its place",
    "any; data=translation/hub reads WMT 2014 from the Hugging Face hub",
    "of the corpus chosen",
)
_SUBSET = Source(
    "part of SNLI, with counterfactual revisions",
    "33,916 and 8,330 pairs, SNLI's own dev and test sets, 7,844 vectors of GloVe 6B.50d; 5 MB",
    "data.root: snli/{snli_train_subset,cad_nli,snli_dev,snli_test}.parquet, "
    "vectors/glove.6B.50d.7844words.txt.gz",
    "GitHub: academic-repository/cat, acmi-lab/counterfactually-augmented-data, sheng-z/JOCI, "
    "OanaMariaCamburu/e-SNLI",
    "SNLI CC BY-SA 4.0, revisions Apache-2.0, GloVe ODC PDDL 1.0",
)
_HEADLINES = Source(
    "headlines of Reuters-21578 and compressions of news",
    "19,043 documents and 10,000 sentences; 3 MB",
    "data.root: summarization/{reuters21578_headlines,google_compression_10k}.parquet",
    "GitHub: robinj/cs909 (Reuters), gustavolgcr/sentence-compression-icaart-2020 (Google)",
    "Reuters: free for research; Google: as is",
)
_TEST_SETS = Source(
    "test sets of Gigaword and DUC 2004",
    "1,951 and 500 items; below 1 MB",
    "data.root: summarization/{gigaword_test,duc2004_test}.parquet",
    "GitHub: jzhou316/Unsupervised-Sentence-Summarization, complementizer/rl-sentence-compression",
    "Gigaword: the LDC's licence holds for the text; DUC: user agreement of NIST; both for research alone",
)
_MULTI30K = Source(
    "Multi30k, task 1",
    "29,000 / 1,014 pairs and three test sets, raw text; 3 MB",
    "data.root: translation/multi30k_raw/*.parquet, a column for each language",
    "GitHub: multi30k/dataset",
    "captions of Flickr30k: not for commerce, research and education",
)

SOURCES: dict[tuple[str, str], Sequence[Source]] = {
    ("small", "snli"): (_SUBSET,),
    ("small", "summarization"): (_HEADLINES, _TEST_SETS),
    ("small", "translation"): (_MULTI30K,),
    ("paper", "snli"): (_SNLI, _GLOVE),
    ("paper", "summarization"): (_GIGAWORD, _DUC),
    ("paper", "translation"): (_FRENCH,),
}
"""By tier and table; tier mini needs nothing."""


def describe_data(tier: str, table: str) -> str:
    """What a table needs at a tier, as a paragraph."""
    sources = SOURCES.get((tier, table), ())
    lines = [f"data for {table}, tier {tier}:"]
    if not sources:
        return f"{lines[0]} none, its corpus is generated"
    for source in sources:
        facts = {"holds": source.size, "as": source.files, "from": source.where, "terms": source.terms}
        lines += [f"  {source.name}", *(f"    {name:<7}{fact}" for name, fact in facts.items() if fact)]
    return "\n".join(lines)
