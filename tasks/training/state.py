"""Where a run stands, and how that goes into a checkpoint and comes out again.

A run goes on only under what it was made with. These alone may differ: the keys of the config in
:data:`tasks.training.provenance.NOT_HASHED` (where files lie, the display, the device), the machine, the
commit of the code, and the number of threads where ``trainer.threads`` is null. Another commit, device or
number of threads is said; the bits may no longer be the same.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tasks.training import checkpoint
from tasks.training.checkpoint import Checkpoint, CheckpointError
from tasks.training.pace import Pace
from tasks.training.packing import pack, unpack
from tasks.training.processes import Processes
from tasks.training.provenance import versions
from tasks.training.randomness import set_random_state
from tasks.training.settings import TrainerSettings
from tasks.training.task import Scheduler

_ANEW = "go on with what it was made with, or begin anew under another output_dir"


class ResumeError(RuntimeError):
    """A checkpoint that belongs to another run than the one that was started."""


@dataclass
class RunState:
    """The counters of a run, all of them plain JSON.

    ``history`` holds one entry per finished epoch, ``tallies`` the sums over the epoch under way, ``batch``
    how many of its batches are done, ``pace`` how fast all steps went, ``log_bytes`` the length of the
    metrics log, ``origins`` the code, the device and the threads that took the steps, each in its order.
    """

    step: int = 0
    batch: int = 0
    best_epoch: int = 0
    best: float | None = None
    seconds: float = 0.0
    log_bytes: int = 0
    tallies: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    origins: dict[str, list[str]] = field(default_factory=dict)
    pace: Pace = field(default_factory=Pace)

    @classmethod
    def of(cls, stored: dict[str, Any]) -> "RunState":
        """The counters that were stored by ``asdict``; runs from before there was a pace begin one."""
        return cls(**{**stored, "pace": Pace(**stored.get("pace", {}))})

    @property
    def epoch(self) -> int:
        """The epoch under way, counted from 1."""
        return len(self.history) + 1

    def is_finished(self, settings: TrainerSettings) -> bool:
        """Whether training ends here: only ever between two epochs."""
        if self.batch > 0:
            return False
        stale_epochs = len(self.history) - self.best_epoch
        is_out_of_steps = settings.max_steps is not None and self.step >= settings.max_steps
        is_out_of_patience = settings.patience is not None and stale_epochs >= settings.patience
        return self.epoch > settings.epochs or is_out_of_steps or is_out_of_patience

    def add_origin(self, name: str, value: str) -> tuple[str, ...]:
        """Note under what the run goes on; a sentence says so where that is another than before."""
        known = self.origins.setdefault(name, [])
        before = known[-1:]
        if before == [value]:
            return ()
        known.append(value)
        return tuple(f"made so far with {name} {last}, from here on with {value}" for last in before)

    def add_step(self, loss: float, tallies: dict[str, float], seconds: float, *, is_first: bool) -> None:
        """Count one update."""
        self.step += 1
        self.batch += 1
        self.pace.add(tallies["tokens"], seconds, is_first=is_first)
        for name, value in {**tallies, "loss": loss * tallies["examples"], "seconds": seconds}.items():
            self.tallies[name] = self.tallies.get(name, 0.0) + value

    def add_epoch(self, dev: dict[str, float], metric: str) -> bool:
        """Close the epoch under way, and return whether its dev ``metric`` is the largest so far."""
        sums = self.tallies
        is_best = self.best is None or dev[metric] > self.best
        if is_best:
            self.best, self.best_epoch = dev[metric], self.epoch
        entry = {"epoch": self.epoch, "step": self.step, "loss": sums.pop("loss") / sums["examples"]}
        self.history.append({**entry, "seconds": sums.pop("seconds"), "tallies": sums, "dev": dev})
        self.batch, self.tallies = 0, {}
        return is_best


@dataclass
class Live:
    """The moving parts of a run, which one checkpoint holds together.

    ``identity`` is what has to be the same for a run to be resumed, beside the versions of packages.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Scheduler | None
    identity: dict[str, str]
    state: RunState = field(default_factory=RunState)
    best: dict[str, Tensor] = field(default_factory=dict)

    def keep_best(self) -> None:
        """Remember the weights as they are now."""
        weights = self.model.state_dict().items()
        self.best = {name: tensor.detach().to("cpu", copy=True) for name, tensor in weights}

    def save(self, path: Path, random: Sequence[dict[str, Any]]) -> None:
        """Save everything at ``path``, with the ``random`` state of every process."""
        tensors: dict[str, Tensor] = {}
        state = {
            "identity": self.identity,
            "versions": versions(),
            "run": asdict(self.state),
            "model": pack(dict(self.model.state_dict()), "model", tensors),
            "best": pack(self.best, "best", tensors),
            "optimizer": pack(self.optimizer.state_dict(), "optimizer", tensors),
            "scheduler": pack(self.scheduler.state_dict() if self.scheduler else None, "scheduler", tensors),
            "random": pack(random[0], "random", tensors),
            "random_of_others": pack(list(random[1:]), "random_of_others", tensors),
        }
        checkpoint.save(path, tensors, state)

    def resume(self, path: Path, processes: Processes) -> tuple[str, ...]:
        """Continue from the checkpoint at ``path``, where there is one, and return the sentences that say so.

        Raises:
            ResumeError: it is the checkpoint of another config, vocabulary or number of processes, or other
                versions or another code made it.
            CheckpointError: neither it nor the one before it can be used.
            ProcessError: either of these, where it is the first process that reads it.
        """
        found = processes.first(lambda: self._read(path, processes.size))
        if found is None:
            return ()
        try:
            self._restore(found, processes.rank)
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = str(error).split("\n")[-1].strip().rstrip(".")
            raise ResumeError(
                f"{path} must hold what this version of the code keeps: {reason}; {_ANEW}"
            ) from error
        resumed = f"resumed at step {self.state.step}"
        return (resumed,) if found.note is None else (found.note, resumed)

    def _restore(self, found: Checkpoint, rank: int) -> None:
        tensors, state, _ = found
        self.state = RunState.of(state["run"])
        self.model.load_state_dict(unpack(state["model"], tensors))
        self.best = unpack(state["best"], tensors)
        self.optimizer.load_state_dict(unpack(state["optimizer"], tensors))
        if self.scheduler is not None:
            self.scheduler.load_state_dict(unpack(state["scheduler"], tensors))
        others = unpack(state.get("random_of_others", []), tensors)
        set_random_state([unpack(state["random"], tensors), *others][rank])

    def _read(self, path: Path, processes: int) -> Checkpoint | None:
        if not checkpoint.exists(path):
            return None
        found = checkpoint.load_latest(path)
        _check_identity(path, found.state.get("identity", {}), self.identity, f"; {_ANEW}")
        _check_identity(path, found.state.get("versions", {}), versions(), f"; {_ANEW}")
        # Runs from before there could be several processes hold no random state of others.
        made_by = 1 + len(unpack(found.state.get("random_of_others", []), found.tensors))
        if made_by != processes:
            raise ResumeError(
                f"{path} must be continued by its {made_by} processes, got {processes}; {_ANEW}"
            )
        if found.note is not None:
            checkpoint.set_aside(path)
        return found


def best_weights(path: Path, vocabulary_sha256: str) -> dict[str, Tensor]:
    """Return the weights that did best on dev, from the checkpoint of a run, for ``model.load_state_dict``.

    Raises:
        ResumeError: the run had another vocabulary.
        CheckpointError: the checkpoint cannot be used, or no epoch was finished yet.
    """
    tensors, state, _ = checkpoint.load_latest(path)
    try:
        found, finished = state["identity"]["vocabulary"], state["run"]["best_epoch"]
        weights: dict[str, Tensor] = unpack(state["best"], tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} must hold the state of a run, got something else: {error!r}"
        ) from error
    _check_identity(path, {"vocabulary": found}, {"vocabulary": vocabulary_sha256})
    if not finished:
        raise CheckpointError(f"{path} must come from a run with a finished epoch, got none")
    return weights


def load_weights(model: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Give a model the weights of the checkpoint at ``path``.

    Raises:
        ResumeError: they are those of a model of another shape.
    """
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).strip().split("\n")[-1].strip()
        raise ResumeError(
            f"{path} must have the weights that this run's config asks for: {reason}"
        ) from error


def _check_identity(path: Path, found: dict[str, str], wanted: dict[str, str], hint: str = "") -> None:
    for name, value in wanted.items():
        if found.get(name) != value:
            raise ResumeError(f"{path} must have this run's {name}, {value}, got {found.get(name)}{hint}")
