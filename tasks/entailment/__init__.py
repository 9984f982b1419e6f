"""Textual entailment: data, model and metrics."""

from tasks._registry import Config, DataSource, Metric, TaskSpec, register
from tasks.checks import counted


def _setting(config: Config) -> str:
    task, optim = config["task"], config["optim"]
    vectors = "trained" if task["train_vectors"] else "frozen"
    penalty = f", ℓ2 {optim['weight_decay']:g}" if optim.get("weight_decay") else ""
    model = "" if task.get("model", "recurrent") == "recurrent" else f"{task['model']} model, "
    return (
        f"{model}{vectors} vectors, hidden {task['hidden_size']}, batch {task['batch_size']}, "
        f"lr {optim['lr']:g}{penalty}, dropout {task['dropout']:g}, "
        f"{counted(config['trainer']['epochs'], 'epoch')}"
    )


_SUBSET = DataSource(
    "part of SNLI, with counterfactual revisions",
    "33,916 and 8,330 pairs, SNLI's own dev and test sets, 15,024 vectors of GloVe 6B.100d; 9 MB",
    "data.root: snli/{snli_train_subset,cad_nli,snli_dev,snli_test}.parquet, "
    "vectors/glove.6B.100d.snli.txt.gz",
    "GitHub: academic-repository/cat, acmi-lab/counterfactually-augmented-data, sheng-z/JOCI, "
    "OanaMariaCamburu/e-SNLI",
    "SNLI CC BY-SA 4.0, revisions Apache-2.0, GloVe ODC PDDL 1.0",
)
_SNLI = DataSource(
    "SNLI 1.0",
    "550,152 / 10,000 / 10,000 pairs, those without a gold label are dropped; about 95 MB",
    "",
    "https://nlp.stanford.edu/projects/snli/; read by itself from the Hugging Face hub, stanfordnlp/snli",
    "CC BY-SA 4.0, no registration",
)
_GLOVE = DataSource(
    "GloVe 840B.300d",
    "2.2 million words; about 2 GB packed, which is read as it is",
    "task.vectors: the file",
    "https://nlp.stanford.edu/projects/glove/",
    "ODC PDDL 1.0, no registration",
)

SPEC = register(
    TaskSpec(
        name="snli",
        title="Textual entailment",
        build="tasks.entailment.task.build",
        corpora={
            "mini": "tasks.entailment.mini.generate",
            "hub": "tasks.entailment.data.load_hub",
            "folder": "tasks.entailment.data.load_folder",
        },
        command="predict",
        writes_text=False,
        load="tasks.entailment.task.load",
        figure="figure2",
        axes=("premise", "hypothesis → answer"),
        primary_metric=Metric("accuracy", "accuracy, %", 100.0),
        item_scores={"accuracy": ""},
        baselines="tasks.entailment.task.baselines",
        setting=_setting,
        sources={"small": (_SUBSET,), "paper": (_SNLI, _GLOVE)},
    )
)
