"""Translation: parallel corpora, BLEU and alignment."""

from tasks._registry import DataSource, Metric, TaskSpec, register
from tasks.seq2seq import setting

_MULTI30K = DataSource(
    "Multi30k, task 1",
    "29,000 / 1,014 pairs and three test sets, raw text; 3 MB",
    "data.root: translation/multi30k_raw/*.parquet, a column for each language",
    "GitHub: multi30k/dataset",
    "captions of Flickr30k: not for commerce, research and education",
)
_FRENCH = DataSource(
    "French–English pairs",
    "which corpora the paper's ten pairs of languages are of is not known; this pair is one of them",
    "data.root: a folder with train, val and test, each .fr and .en; or data=translation/hub in its place",
    "any; data=translation/hub reads WMT 2014 from the Hugging Face hub",
    "of the corpus chosen",
)

SPEC = register(
    TaskSpec(
        name="translation",
        title="Machine translation",
        build="tasks.translation.task.build",
        corpora={
            "mini": "tasks.translation.mini.generate",
            "hub": "tasks.translation.data.load_hub",
            "folder": "tasks.translation.data.load_folder",
        },
        command="translate",
        writes_text=True,
        load="tasks.seq2seq.task.load",
        figure="figure3",
        primary_metric=Metric("bleu", "BLEU, greedy"),
        item_scores={
            "bleu": "tasks.translation.task.bleu_of_totals",
            "aer": "tasks.seq2seq.task.aer_of_totals",
        },
        setting=setting,
        baselines="tasks.translation.task.baselines",
        sources={"small": (_MULTI30K,), "paper": (_FRENCH,)},
    )
)
