"""Sentence summarization: corpora of headlines and ROUGE."""

from tasks._registry import DataSource, Metric, TaskSpec, register
from tasks.seq2seq import setting

ROUGE = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L"}
UNTIL_UNKNOWN = "_until_unknown"
"""Ends the names of scores of outputs that end where the Perl script ends them, at their first ``<unk>``."""


_HEADLINES = DataSource(
    "headlines of Reuters-21578 and compressions of news",
    "19,043 documents and 10,000 sentences; 3 MB",
    "data.root: summarization/{reuters21578_headlines,google_compression_10k}.parquet",
    "GitHub: robinj/cs909 (Reuters), gustavolgcr/sentence-compression-icaart-2020 (Google)",
    "Reuters: free for research; Google: as is",
)
_TEST_SETS = DataSource(
    "test sets of Gigaword and DUC 2004",
    "1,951 and 500 items; below 1 MB",
    "data.root: summarization/{gigaword_test,duc2004_test}.parquet",
    "GitHub: jzhou316/Unsupervised-Sentence-Summarization, complementizer/rl-sentence-compression",
    "Gigaword: the LDC's licence holds for the text; DUC: user agreement of NIST; both for research alone",
)
_GIGAWORD = DataSource(
    "Gigaword, prepared for headlines",
    "3,803,957 / 189,651 / 1,951 pairs; 578 MB",
    "with DUC 2004: data=gigaword/folder data.root=<the folder sumdata>",
    "read by itself from the Hugging Face hub, gigaword; sumdata: harvardnlp/sent-summary on GitHub",
    "made from the LDC's Annotated Gigaword (LDC2012T21), whose licence holds for the text",
)
_DUC = DataSource(
    "DUC 2004, task 1",
    "500 sentences with 4 references each; below 1 MB",
    "in the folder sumdata, see above; the hub has none",
    "https://duc.nist.gov/data.html",
    "after signing the user agreement of NIST; for research",
)

SPEC = register(
    TaskSpec(
        name="gigaword",
        title="Sentence summarization",
        build="tasks.summarization.task.build",
        corpora={
            "mini": "tasks.summarization.mini.generate",
            "hub": "tasks.summarization.data.load_hub",
            "folder": "tasks.summarization.data.load_folder",
        },
        command="summarize",
        writes_text=True,
        load="tasks.seq2seq.task.load",
        figure="figure3",
        primary_metric=Metric("rougeL", "ROUGE-L, greedy"),
        item_scores={**dict.fromkeys(ROUGE, ""), "aer": "tasks.seq2seq.task.aer_of_totals"},
        setting=setting,
        baselines="tasks.summarization.task.baselines",
        test_names={"gigaword": "test"},  # the one test set of the mini corpus is scored as Gigaword's is
        sources={"small": (_HEADLINES, _TEST_SETS), "paper": (_GIGAWORD, _DUC)},
    )
)
