"""A monitor under Hugging Face's Trainer (extra ``transformers``)."""

from __future__ import annotations

from typing import Any, Self

from kolmo.callbacks.loggers import logs_of, tell
from kolmo.callbacks.monitor import Monitor
from kolmo.callbacks.readings import Reading
from kolmo.errors import MissingExtraError

try:
    from transformers import TrainerCallback
except ImportError:
    raise MissingExtraError(
        "kolmo.callbacks.TransformersMonitor", "transformers", "transformers"
    ) from None


class TransformersMonitor(TrainerCallback):
    """Logs bits a weight, share of the shuffle and a verdict as the Trainer logs its loss.

    `attach` adds it to a trainer, whose ``log`` then takes the figures to all that ``report_to``
    names. Given as one of ``callbacks``, it knows no trainer: figures then go to
    ``state.log_history`` and to ``log`` alone. `kolmo.callbacks.Monitor` has the parameters.

    Attributes
    ----------
    monitor : Monitor or None
        That of the present or the last training: ``monitor.history`` holds its readings.

    Examples
    --------
    >>> TransformersMonitor(every=50, share=0.01).monitor is None
    True
    """

    def __init__(self, *, log: Any = None, **options: Any) -> None:
        self._options, self._logs = options, logs_of(log)
        self._trainer: Any = None
        self.monitor: Monitor | None = None

    @classmethod
    def attach(cls, trainer: Any, *, log: Any = None, **options: Any) -> Self:
        """Add a monitor to a trainer.

        Parameters
        ----------
        trainer : transformers.Trainer
        log, **options : see `kolmo.callbacks.Monitor`

        Returns
        -------
        TransformersMonitor
        """
        made = cls(log=log, **options)
        made._trainer = trainer
        trainer.add_callback(made)
        return made

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self.monitor = None
        if state.is_world_process_zero:
            self.monitor = Monitor(given["model"], **self._options)
            self._tell(self.monitor.step(state.global_step), state, control)

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if self.monitor:
            self._tell(self.monitor.step(state.global_step), state, control)

    def _tell(self, reading: Reading | None, state: Any, control: Any) -> None:
        if reading is None:
            return
        if self._trainer is None:
            epoch = {} if state.epoch is None else {"epoch": state.epoch}
            state.log_history.append({**reading.figures, **epoch, "step": reading.step})
        else:
            should_log = control.should_log  # of the loss, which logging anything takes back
            self._trainer.log(dict(reading.figures))
            control.should_log = should_log
        state.log_history[-1]["kolmo/verdict_text"] = reading.text
        tell(self._logs, reading)
