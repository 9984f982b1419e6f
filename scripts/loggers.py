"""Where a run's figures may also go, chosen by the config group ``logger``; the JSONL log is always kept.

Each takes what it needs of the run and is a callback of :mod:`tasks.training.callbacks`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from tasks.checks import check_installed
from tasks.training.callbacks import Callback, EpochEvent, StepEvent


class NoLogger(Callback):
    """Nothing beyond the run's own metrics.jsonl."""

    def __init__(self, run_id: str, directory: Path, config: dict[str, Any]) -> None:
        pass


class _Scalars(NoLogger):
    """Loss, dev metrics, speed and what attention does as named numbers per step."""

    def write(self, figures: dict[str, float], step: int) -> None:
        raise AssertionError("a logger of scalars writes them somewhere")

    def on_step(self, event: StepEvent) -> None:
        figures = {"train/loss": event.loss}
        if not event.is_warmup:  # that one also compiles
            figures["train/tokens_per_second"] = event.metric_sums["tokens"] / event.seconds
        figures |= {f"attention/{name}": value for name, value in event.attention.items()}
        self.write(figures, event.step)

    def on_epoch(self, event: EpochEvent) -> None:
        figures = {f"dev/{name}": value for name, value in event.dev.items()}
        self.write({"train/epoch_loss": event.loss, "epoch": event.epoch, **figures}, event.step)


class WandbLogger(_Scalars):
    """Weights & Biases; a resumed run continues the same one there. ``mode`` offline needs no key.

    Its files, those of offline mode too, hold more than figures: the name of the host, the git remote, the
    installed packages. Look through them before they are handed on.
    """

    def __init__(
        self,
        run_id: str,
        directory: Path,
        config: dict[str, Any],
        *,
        project: str = "regattn",
        mode: Literal["online", "offline"] = "online",
    ) -> None:
        if mode not in ("online", "offline"):
            raise ValueError(f"logger.mode must be online or offline, got {mode!r}")
        check_installed("wandb", "logger=wandb")
        import wandb  # a second, and nobody else needs it

        if mode == "online" and not wandb.setup().settings.api_key:
            raise ValueError(
                "logger.mode=online must have a key from `wandb login`, got none; "
                "logger.mode=offline needs none"
            )
        self._run = wandb.init(
            project=project,
            mode=mode,
            id=run_id,
            name=run_id,
            dir=str(directory),
            config=config,
            resume="allow",
        )

    def write(self, figures: dict[str, float], step: int) -> None:
        self._run.log(figures, step=step)

    def on_end(self) -> None:
        self._run.finish()


class TensorBoardLogger(_Scalars):
    """TensorBoard event files in the run's directory: ``tensorboard --logdir runs``."""

    def __init__(self, run_id: str, directory: Path, config: dict[str, Any]) -> None:
        check_installed("tensorboard", "logger=tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(directory / "tensorboard"))

    def write(self, figures: dict[str, float], step: int) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def on_end(self) -> None:
        self._writer.close()
