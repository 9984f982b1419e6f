"""Make of a finished run what others can use: `make export RUN=…` writes <run>/export.

There: model.safetensors, config.json, vocabulary.json, README.md, a model card made of the run's record, and
the folder tasks, the code of the model, with its licence: no installed package has it, for its name is
everybody's.
:func:`tasks.loading.from_run` loads it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

import tasks
from scripts import cli
from scripts.cli import UsageError
from scripts.markdown import markdown, paragraph
from scripts.runs.config import plain
from scripts.runs.setup import open_run
from tasks._registry import TASKS
from tasks.loading import load_trained
from tasks.training.records import Record, find_record
from tasks.training.run_directory import RunDirectory
from tasks.training.state import export_weights


def export(run_name: str, overrides: Sequence[str] = ()) -> None:
    """Write the export of a run, whole or not at all."""
    run, config = open_run(run_name, overrides)
    records = Path(config.results_dir) / "runs"
    record = find_record(records, run.path.name)
    if record is None:
        raise UsageError(f"RUN must name a finished run, got {run.path.name}, without a record in {records}")
    if os.path.lexists(run.export):
        raise UsageError(f"{run.export} is there already: move it away to export the run again")
    load_trained(plain(config), run, torch.device("cpu"))  # what cannot be used is refused, not exported
    with tempfile.TemporaryDirectory(dir=run.path) as folder:
        made = RunDirectory(Path(folder) / "export")
        made.path.mkdir()
        export_weights(run.checkpoint, made.path / "model.safetensors")
        shutil.copy(run.config, made.config)
        shutil.copy(run.vocabulary, made.vocabulary)
        code = Path(tasks.__file__).parent
        shutil.copytree(code, made.path / code.name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(code.parent / "LICENSE", made.path)
        (made.path / "README.md").write_text(model_card(record), encoding="utf-8")
        made.path.rename(run.export)
    print(f"export {run.export}")


def model_card(record: Record) -> str:
    """What a stranger has to know of a trained model, from its record alone."""
    spec, corpus, splits = TASKS[record.task], record.corpus, record.metrics
    strengths = ", ".join(f"{name} {value:g}" for name, value in record.mapping_params.items())
    attention = paragraph(f"{record.mapping} attention" + (f" ({strengths})" if strengths else ""))
    names = sorted(set().union(*splits.values()))
    metrics = [[n, *(f"{of[n]:.4g}" if n in of else "" for of in splits.values())] for n in names]
    sizes = ", ".join(f"{count:,} {split}" for split, count in corpus["sizes"].items())
    facts = {
        "data": f"{corpus['name']}, {sizes}; SHA-256 {corpus['sha256']}",
        "settings": spec.setting(record.config),
        "weights": f"of epoch {record.best_epoch} of {record.epochs}, seed {record.seed}",
        "command": f"`{record.command}`",
        "commit": record.commit,
        "versions": ", ".join(f"{name} {version}" for name, version in record.versions.items()),
        **{f"metrics, {split}": ", ".join(of.values()) for split, of in record.signatures.items() if of},
    }
    synthetic = "It was trained on synthetic data: of use to try the code.\n" if record.tier == "mini" else ""
    asking = 'generate(["…"])[0][0].text' if spec.writes_text else 'predict("…", "…").label'
    return f"""---
library_name: regattn
tags: [{record.task}, {record.mapping}, sparse-attention]
---

# {record.id}

{spec.title} with {attention}, tier {paragraph(record.tier)}.
{synthetic}
In this folder, with regattn and its extra `models` installed:

```python
from tasks.loading import from_run

from_run(".").{asking}
```

{markdown(["metric", *splits], metrics, numbers=True)}

{markdown(["", ""], facts.items())}

The data have terms of their own, which hold for what was learnt from them.
"""


if __name__ == "__main__":
    cli.main(lambda: export("".join(sys.argv[1:2]), sys.argv[2:]))
