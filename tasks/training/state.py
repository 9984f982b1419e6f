"""Where a run stands, chance included, and how that goes into a checkpoint and comes out again.

A run goes on only under what it was made with. These alone may differ: the keys of the config in
:data:`tasks.training.provenance.NOT_HASHED` (where files lie, the display, the device), the machine, the
commit of the code, and the number of threads where ``trainer.threads`` is null. Another commit, device or
number of threads is said; the bits may no longer be the same.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from tasks.checks import Refusal, counted
from tasks.training import checkpoint
from tasks.training.checkpoint import Checkpoint, CheckpointError, deserialize, serialize
from tasks.training.distributed import on_rank_zero, rank, world_size
from tasks.training.optim import Scheduler
from tasks.training.provenance import versions
from tasks.training.settings import TrainerSettings

_ANEW = "go on with what it was made with, or begin anew under another output_dir"
_STORED = {"metric_sums": "tallies", "throughput": "pace"}
"""Fields of :class:`Counters` that checkpoints know by another name."""


class ResumeError(Refusal):
    """A checkpoint that belongs to another run than the one that was started."""


@dataclass
class Throughput:
    """Tokens and seconds of training steps, without the first step of every process.

    That one also compiles what it calls, for up to half a minute, and says nothing of those after it.

    Example:
        >>> throughput = Throughput()
        >>> throughput.add(100, 25.0, is_warmup=True)
        >>> throughput.tokens_per_second is None
        True
        >>> throughput.add(100, 0.5, is_warmup=False)
        >>> throughput.tokens_per_second
        200.0
    """

    tokens: float = 0.0
    seconds: float = 0.0

    def add(self, tokens: float, seconds: float, *, is_warmup: bool) -> None:
        """Count a step."""
        if not is_warmup:
            self.tokens += tokens
            self.seconds += seconds

    @property
    def tokens_per_second(self) -> float | None:
        """The mean, or None before there is one."""
        return self.tokens / self.seconds if self.seconds else None


@dataclass
class Counters:
    """What a run counts, all of it plain JSON.

    ``seconds`` are those of everything, over all starts of the run. ``history`` holds one entry per finished
    epoch, as the metrics log does, ``metric_sums`` the sums over the epoch under way,
    ``batch`` how many of its batches are done, ``throughput`` how fast all steps went, ``log_bytes`` the
    length of the metrics log, ``origins`` the code, the device, the threads and the precision that took the
    steps, each in its order. ``attention`` are the epoch's sums of what was seen in ``samples`` of the steps,
    and ``warned`` whether the run has been warned of it.
    """

    step: int = 0
    batch: int = 0
    best_epoch: int = 0
    best: float | None = None
    seconds: float = 0.0
    log_bytes: int = 0
    metric_sums: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    origins: dict[str, list[str]] = field(default_factory=dict)
    throughput: Throughput = field(default_factory=Throughput)
    attention: dict[str, float] = field(default_factory=dict)
    samples: int = 0
    warned: bool = False

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """What :meth:`to_json` returned; runs from before their throughput was kept begin to count it."""
        names = {old: new for new, old in _STORED.items()}
        values = {names.get(name, name): value for name, value in stored.items()}
        return cls(**{**values, "throughput": Throughput(**values.get("throughput", {}))})

    def to_json(self) -> dict[str, Any]:
        return {_STORED.get(name, name): value for name, value in asdict(self).items()}

    @property
    def epoch(self) -> int:
        """The epoch under way, counted from 1."""
        return len(self.history) + 1

    @property
    def dev(self) -> dict[str, float]:
        """The dev metrics of the epoch whose weights are kept."""
        metrics: dict[str, float] = self.history[self.best_epoch - 1]["dev"]
        return metrics

    @property
    def seconds_per_epoch(self) -> float:
        """Mean over the epochs of all training steps and nothing else."""
        return fmean(entry["seconds"] for entry in self.history)

    @property
    def tokens_per_second(self) -> float:
        """Of all training steps but the first of each start, which compiles, unless there is no other."""
        seconds = sum(entry["seconds"] for entry in self.history)
        tokens = sum(entry["tallies"]["tokens"] for entry in self.history)
        return self.throughput.tokens_per_second or float(tokens / seconds)

    def is_finished(self, settings: TrainerSettings) -> bool:
        """Whether training ends here: only ever between two epochs."""
        if self.batch > 0:
            return False
        stale_epochs = len(self.history) - self.best_epoch
        is_out_of_steps = settings.max_steps is not None and self.step >= settings.max_steps
        is_out_of_patience = settings.patience is not None and stale_epochs >= settings.patience
        return self.epoch > settings.epochs or is_out_of_steps or is_out_of_patience

    def end_of_epoch(self, batches: int, settings: TrainerSettings) -> int:
        """The batch before which the epoch under way ends, where ``batches`` are in it."""
        if settings.max_steps is None:
            return batches
        return min(batches, self.batch + settings.max_steps - self.step)

    def add_origin(self, name: str, value: str) -> tuple[str, ...]:
        """Note under what the run goes on; a sentence says so where that is another than before."""
        known = self.origins.setdefault(name, [])
        before = known[-1:]
        if before == [value]:
            return ()
        known.append(value)
        return tuple(f"made so far with {name} {last}, from here on with {value}" for last in before)

    def add_step(
        self, loss: float, metric_sums: Mapping[str, float], seconds: float, *, is_warmup: bool
    ) -> None:
        """Count one update."""
        self.step += 1
        self.batch += 1
        self.throughput.add(metric_sums["tokens"], seconds, is_warmup=is_warmup)
        step = {**metric_sums, "loss": loss * metric_sums["examples"], "seconds": seconds}
        for name, value in step.items():
            self.metric_sums[name] = self.metric_sums.get(name, 0.0) + value

    def add_attention(self, figures: Mapping[str, float]) -> None:
        """Count what was seen of the attention in a step, where it was looked at."""
        if figures:
            self.samples += 1
            self.attention = {name: self.attention.get(name, 0.0) + value for name, value in figures.items()}

    @property
    def attention_means(self) -> dict[str, float]:
        """Means over the samples of the epoch under way."""
        return {name: total / self.samples for name, total in self.attention.items()}

    def add_epoch(self, dev: Mapping[str, float], metric: str, *, keep: str = "best") -> bool:
        """Close the epoch under way, and return whether its weights are the ones to keep so far.

        These are the ones of the largest dev ``metric``, or, if ``keep`` is ``"last"``, its own.
        """
        sums = self.metric_sums
        is_best = keep == "last" or self.best is None or dev[metric] > self.best
        if is_best:
            self.best, self.best_epoch = dev[metric], self.epoch
        entry: dict[str, Any] = {"epoch": self.epoch, "step": self.step}
        entry["loss"] = sums.pop("loss") / sums["examples"]
        # Under the name that metrics logs and checkpoints have had from the beginning.
        entry.update(seconds=sums.pop("seconds"), tallies=sums, dev=dict(dev))
        if self.samples:
            entry["attention"] = self.attention_means
        self.history.append(entry)
        self.batch, self.metric_sums = 0, {}
        self.attention, self.samples = {}, 0
        return is_best


@dataclass
class TrainState:
    """The moving parts of a run, which one checkpoint holds together.

    ``identity`` is what has to be the same for a run to be resumed, beside the versions of packages;
    ``best`` are the weights of the best epoch, or of the last one where that is kept.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Scheduler | None
    identity: dict[str, str]
    counters: Counters = field(default_factory=Counters)
    best: dict[str, Tensor] = field(default_factory=dict)

    def keep_best(self) -> None:
        """Remember the weights as they are now."""
        weights = self.model.state_dict().items()
        self.best = {name: tensor.detach().to("cpu", copy=True) for name, tensor in weights}

    def save(self, path: Path, rng_states: Sequence[dict[str, Any]]) -> None:
        """Save everything at ``path``, with the random state of every process."""
        parts = {
            "model": dict(self.model.state_dict()),
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict() if self.scheduler else None,
            "random": rng_states[0],
            "random_of_others": list(rng_states[1:]),
        }
        tensors: dict[str, Tensor] = {}
        state = {"identity": self.identity, "versions": versions(), "run": self.counters.to_json()}
        state.update({name: serialize(part, name, tensors) for name, part in parts.items()})
        checkpoint.save(path, tensors, state)

    def resume(self, path: Path) -> tuple[str, ...]:
        """Continue from the checkpoint at ``path``, where there is one, and return the sentences that say so.

        Raises:
            ResumeError: it is the checkpoint of another config, vocabulary or number of processes, or other
                versions or another code made it.
            CheckpointError: neither it nor the one before it can be used.
            ProcessError: either of these, where it is rank 0 that reads it.
        """
        found = on_rank_zero(lambda: self._read(path))
        if found is None:
            return ()
        try:
            self._restore(found)
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = str(error).split("\n")[-1].strip().rstrip(".")
            wanted = f"what this version of the code keeps: {reason}"
            raise ResumeError(f"{path} must hold {wanted}; {_ANEW}") from error
        resumed = f"resumed at step {self.counters.step}"
        return (resumed,) if found.note is None else (found.note, resumed)

    def _read(self, path: Path) -> Checkpoint | None:
        if not checkpoint.exists(path):
            return None
        found = checkpoint.load_latest(path)
        _check_identity(path, found.state.get("identity", {}), self.identity, f"; {_ANEW}")
        _check_identity(path, found.state.get("versions", {}), versions(), f"; {_ANEW}")
        made_by = 1 + len(_rng_states_of_others(found))
        if made_by != world_size():
            got = f"{world_size()}; {_ANEW}"
            raise ResumeError(f"{path} must be continued by its {counted(made_by, 'process')}, got {got}")
        if found.note is not None:
            checkpoint.set_aside(path)
        return found

    def _restore(self, found: Checkpoint) -> None:
        tensors, state, _ = found
        self.counters = Counters.from_json(state["run"])
        self.model.load_state_dict(deserialize(state["model"], tensors))
        self.best = deserialize(state["best"], tensors)
        self.optimizer.load_state_dict(deserialize(state["optimizer"], tensors))
        if self.scheduler is not None:
            self.scheduler.load_state_dict(deserialize(state["scheduler"], tensors))
        rng_states = [state["random"], *_rng_states_of_others(found)]
        set_rng_state(deserialize(rng_states[rank()], tensors))


def best_weights(path: Path, vocabulary_sha256: str) -> dict[str, Tensor]:
    """Return the weights that did best on dev, from the checkpoint of a run, for ``model.load_state_dict``.

    The same from the file ``.safetensors`` that :func:`export_weights` made of it.

    Raises:
        ResumeError: the run had another vocabulary.
        CheckpointError: the file cannot be used, or no epoch was finished yet.
    """
    if path.suffix == checkpoint.WEIGHTS:
        weights, found = checkpoint.load_weights(path)
        vocabulary = found.get("vocabulary", "none")
    else:
        weights, vocabulary = _best_of_checkpoint(path)
    _check_identity(path, {"vocabulary": vocabulary}, {"vocabulary": vocabulary_sha256})
    return weights


def _best_of_checkpoint(path: Path) -> tuple[dict[str, Tensor], str]:
    tensors, state, _ = checkpoint.load_latest(path)
    try:
        vocabulary, finished = state["identity"]["vocabulary"], state["run"]["best_epoch"]
        weights: dict[str, Tensor] = deserialize(state["best"], tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} must hold the state of a run, got another: {error!r}") from error
    if not finished:
        raise CheckpointError(f"{path} must come from a run with a finished epoch, got none")
    return weights, vocabulary


def export_weights(checkpoint_path: Path, path: Path) -> None:
    """Write the weights that did best on dev, and nothing else of a checkpoint, for other tools to read.

    Raises:
        CheckpointError: the checkpoint cannot be used, or no epoch was finished yet.
    """
    weights, vocabulary = _best_of_checkpoint(checkpoint_path)
    checkpoint.save_weights(path, weights, vocabulary=vocabulary)


def load_weights(model: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Give a model the weights of the checkpoint at ``path``.

    Raises:
        ResumeError: they are those of a model of another shape.
    """
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).strip().split("\n")[-1].strip()
        wanted = "the weights that this run's config asks for"
        raise ResumeError(f"{path} must have {wanted}: {reason}") from error


def _rng_states_of_others(found: Checkpoint) -> list[Any]:
    # Runs from before there could be several processes hold none.
    states: list[Any] = found.state.get("random_of_others", {"list": []})["list"]
    return states


def _check_identity(path: Path, found: dict[str, str], wanted: dict[str, str], hint: str = "") -> None:
    for name, value in wanted.items():
        if found.get(name) != value:
            raise ResumeError(f"{path} must have this run's {name}, {value}, got {found.get(name)}{hint}")


def seed_all(seed: int) -> None:
    """Seed torch (every device), numpy and Python."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def get_rng_state() -> dict[str, Any]:
    """Return the state of every generator, as tensors and plain values only."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
        # As ints, because numpy's own array cannot be read back without pickle.
        "numpy": (str(kind), [int(key) for key in keys], *rest),
        "python": random.getstate(),
    }


def set_rng_state(state: dict[str, Any]) -> None:
    """Put every generator into the ``state`` that :func:`get_rng_state` returned."""
    torch.set_rng_state(state["torch"])
    # A run may be resumed on another device; the CPU state is then all there is to restore.
    if state["cuda"] is not None and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(state["cuda"])
    np.random.set_state(state["numpy"])
    random.setstate(state["python"])
