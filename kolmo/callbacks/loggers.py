"""Whoever logs: each by its own interface, told by the methods that it has.

=====================================  ==========================================================
a function such as ``print``           is called with the `Reading`, whose text is a line
``SummaryWriter`` of TensorBoard       ``add_scalar``, ``add_text``
a run of Weights & Biases, ``wandb``   ``log``, with ``kolmo/step`` as the axis of ``kolmo/*``
``mlflow``, Comet, Lightning's, Fabric's  ``log_metrics``
=====================================  ==========================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from kolmo.callbacks.readings import PREFIX, Reading
from kolmo.errors import InputError

Log: TypeAlias = Callable[[Reading], Any]

_TEXT = f"{PREFIX}verdict_text"


def logs_of(given: Any) -> list[Log]:
    """Functions that log a reading, for one or several of whatever logs; none for None.

    Raises
    ------
    InputError
        If one of them has no interface that is known.

    Examples
    --------
    >>> logs_of(None), logs_of(print) == [print]
    ([], True)
    """
    several = given if isinstance(given, (list, tuple)) else [given]
    return [_log_of(each) for each in several if each is not None]


def _log_of(given: Any) -> Log:
    if hasattr(given, "add_scalar"):
        return lambda reading: _to_tensorboard(given, reading)
    if hasattr(given, "define_metric") and hasattr(given, "log"):
        return _to_wandb(given)
    if hasattr(given, "log_metrics"):
        return lambda reading: _to_metrics(given, reading)
    if callable(given):
        log: Log = given
        return log
    raise InputError(
        f"cannot log to a {type(given).__name__}: it is no function, and has no method add_scalar, "
        f"log_metrics, or log and define_metric"
    )


def _to_tensorboard(writer: Any, reading: Reading) -> None:
    for name, value in reading.figures.items():
        writer.add_scalar(name, value, reading.step)
    _say(writer, reading)


def _to_wandb(run: Any) -> Log:
    """Steps are an axis of their own: those of W&B count its calls, whoever makes them."""
    run.define_metric(f"{PREFIX}step")
    run.define_metric(f"{PREFIX}*", step_metric=f"{PREFIX}step")
    return lambda reading: run.log(
        {**reading.figures, _TEXT: reading.text, f"{PREFIX}step": reading.step}
    )


def _to_metrics(logger: Any, reading: Reading) -> None:
    logger.log_metrics(reading.figures, step=reading.step)
    if hasattr(logger, "set_tag"):  # mlflow, where text is a tag of the run
        logger.set_tag(_TEXT, reading.text)
    _say(getattr(logger, "experiment", None), reading)


def _say(writer: Any, reading: Reading) -> None:
    if hasattr(writer, "add_text"):
        writer.add_text(_TEXT, reading.text, reading.step)


def tell(logs: Iterable[Log], reading: Reading) -> None:
    """Log a reading everywhere."""
    for log in logs:
        log(reading)
