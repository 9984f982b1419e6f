"""A trained encoder–decoder, loaded from its directory alone, and what it answers to the lines of a text."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from hydra.utils import instantiate

from scripts.runs.setup import in_memory, task_options
from scripts.runs.stored import read_run_config, read_stored
from tasks.attention import AttentionGrid
from tasks.seq2seq.search import SearchSettings
from tasks.seq2seq.task import build_model
from tasks.seq2seq.text import Tokenizers
from tasks.seq2seq.translator import Output, Translator
from tasks.training.run_directory import RunDirectory
from tasks.training.state import best_weights, load_weights


@dataclass(frozen=True)
class Answer:
    """A line of the input, and what every run wrote for it, best first."""

    number: int  # from 0, as in Moses's lists
    text: str
    outputs: list[list[Output]]


@dataclass
class LoadedRun:
    """A run at work, and how much it wrote in how long."""

    name: str
    translator: Translator
    settings: SearchSettings
    tokens: int = field(default=0, init=False)
    seconds: float = field(default=0.0, init=False)

    @property
    def mapping(self) -> str:
        """The name of its mapping."""
        return self.translator.mapping.function.__name__

    def write(self, texts: Sequence[str]) -> list[list[Output]]:
        """The outputs of the run."""
        begun = time.perf_counter()
        written = self.translator.generate(texts, self.settings)
        self.seconds += time.perf_counter() - begun
        self.tokens += sum(len(output.ids) for outputs in written for output in outputs)
        return written

    def grid(self, text: str, output: Output) -> AttentionGrid:
        """The attention while ``output`` was written."""
        if not output.source:
            empty = torch.zeros(0, 0)
            return AttentionGrid((), (), empty, empty.long())
        return self.translator.grid(text, output.ids)


def load_translator(run: RunDirectory, device: torch.device) -> Translator:
    """The translator of a run, with the weights that did best on dev; its corpus is not needed.

    Raises:
        ValueError: its config or vocabulary is damaged.
        ResumeError: its checkpoint is another vocabulary's, or a model's of another shape.
        CheckpointError: its checkpoint cannot be used, or no epoch was finished yet.
    """
    config = read_run_config(run)
    options = task_options(config.task)
    tokenizers = read_stored(run.vocabulary, Tokenizers.from_json)
    weights = best_weights(run.checkpoint, tokenizers.sha256)
    mapping = instantiate(config.attention)
    model = in_memory(partial(build_model, tokenizers, mapping, options["model"]))
    load_weights(model, weights, run.checkpoint)
    return Translator(
        model.to(device), tokenizers, options["search"], replace_unknown=options["replace_unknown"]
    )
