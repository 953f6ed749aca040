"""A monitor under Lightning's Trainer (extra ``lightning``)."""

from __future__ import annotations

from typing import Any

from kolmo.callbacks.monitor import Monitor
from kolmo.errors import MissingExtraError

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError:
    raise MissingExtraError("kolmo.callbacks.LightningMonitor", "lightning", "lightning") from None


class LightningMonitor(Callback):
    """Logs bits a weight, share of the shuffle and a verdict to the trainer's loggers.

    `kolmo.callbacks.Monitor` has the parameters; ``log`` names further loggers. Figures go to
    ``trainer.loggers`` at the step where they are measured, whatever ``log_every_n_steps`` is, on
    the process of rank 0 alone.

    Attributes
    ----------
    monitor : Monitor or None
        That of the present or the last training: ``monitor.history`` holds its readings.

    Examples
    --------
    >>> LightningMonitor(every=50, share=0.01).monitor is None
    True
    """

    def __init__(self, *, log: Any = None, **options: Any) -> None:
        self._options, self._log = options, log if isinstance(log, (list, tuple)) else [log]
        self.monitor: Monitor | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.monitor = None
        if trainer.is_global_zero:
            log = [*trainer.loggers, *self._log]
            self.monitor = Monitor(pl_module, log=log, **self._options)
            self.monitor.step(trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if self.monitor:
            self.monitor.step(trainer.global_step)
