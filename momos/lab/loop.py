"""The training loop: steps, projections, validation, the best weights; and resuming from a file."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from kolmo.errors import InputError, KolmoError
from momos.config import LearnedMosaic, SampledMosaic
from momos.lab.augmentation import Augmentation
from momos.lab.averaging import Average
from momos.lab.config import TrainConfig
from momos.lab.datasets import Dataset, Split
from momos.lab.models import build_model
from momos.lab.qat import quantize_in_training, quantized_state_dict
from momos.lab.settings import make_mosaic
from momos.lab.sizes import shortest_file
from momos.learned.learner import Learner
from momos.mosaic.mosaic import Mosaic
from momos.mosaic.stats import ProjectionStats
from momos.sampled.projection import MoMos
from momos.tensors import write_whole
from momos.wrapping import mosaic_of, wrap

_IMAGES = 10_000  # evaluated at a time, so that memory is bounded

State = dict[str, torch.Tensor]


class Training:
    """One training run in progress."""

    def __init__(self, config: TrainConfig, dataset: Dataset) -> None:
        self._config, self._dataset = config, dataset
        self._model = self._fresh_model()
        self._weights = sum(p.numel() for p in self._model.parameters())
        self.states: dict[str, State] = {"init": quantized_state_dict(self._model)}
        if config.bits is not None:
            quantize_in_training(self._model, config.bits)
        self._steps = config.epochs * -(-len(dataset.train) // config.batch_size)
        self._learner = _learner(self._model, config, self._steps)
        self._projector = _projector(self._model, config)
        self._images = torch.from_numpy(dataset.train.images)
        self._labels = torch.from_numpy(dataset.train.labels)
        self._order = np.random.default_rng((config.seed, 1))
        self._augment = Augmentation(dataset.shape, config.shift, config.flip, config.seed)
        self._average = _average(self._model, self._learner, config)
        self._step = 0
        self._optimizer = _optimizer(self._model, config)
        self._schedule = _schedule(self._optimizer, config, self._steps)
        self._best = (-1.0, 0)
        self._best_since = 0  # epoch that first reached the best accuracy
        self.is_projected = False  # whether the weights are those right after a projection
        self.history: list[dict[str, Any]] = []
        self.mosaic: Mosaic | None = None
        self.file: tuple[str, bytes] | None = None

    def _fresh_model(self) -> torch.nn.Module:
        config, data = self._config, self._dataset
        size = {"layers": config.layers, "hidden": config.hidden}
        return build_model(
            config.model, data.shape, data.classes, **size, plan=config.plan, seed=config.seed
        )

    @property
    def is_over(self) -> bool:
        """Whether all epochs are done, or the patience is over."""
        done, patience = len(self.history), self._config.patience
        return done == self._config.epochs or (
            patience is not None and done - self._best_since >= patience
        )

    @property
    def step(self) -> int:
        """Steps of the optimizer until now."""
        return self._step

    @property
    def model(self) -> torch.nn.Module:
        """The network in training, at first its initialization."""
        return self._model

    def epoch(self, number: int, after_step: Callable[[], None] = lambda: None) -> None:
        """Train through the images once, project if it is due, validate, keep the best.

        ``after_step`` is called after each step, and the projection that follows it.
        """
        losses, stats = [], None
        order = torch.from_numpy(self._order.permutation(len(self._labels)))
        batches = torch.split(order, self._config.batch_size)
        for place, rows in enumerate(batches, 1):
            losses.append(self._train_step(rows))
            due = self._is_due(number, last_of_epoch=place == len(batches))
            stats = self._projector.project() if self._projector and due else None
            self.is_projected = self._learner is not None or stats is not None
            after_step()
        loss = float(np.mean(losses))
        if not np.isfinite(loss):
            raise KolmoError(
                f"the training diverged in epoch {number} (the loss is {loss}); "
                f"use a lower learning rate than {self._config.learning_rate}"
            )
        with self._averaged():
            self._validate(number, loss, stats)

    def _validate(self, number: int, loss: float, stats: ProjectionStats | None) -> None:
        state = self._seen()
        accuracy = self._accuracy(state, self._dataset.validation)
        entry = {"epoch": number, "step": self._step, "loss": loss}
        entry["validation_accuracy"] = accuracy
        self.history.append(entry | _projection_entry(stats))
        self.states["last"] = state
        # A checkpoint that claims to be a mosaic is one taken right after a projection.
        complete = self._projector is None or stats is not None
        if complete and accuracy > self._best[0]:
            self._best_since = number
        if self._learner or (complete and accuracy >= self._best[0]):
            self._keep(accuracy, number)

    def seen_state(self) -> State:
        """The weights that a forward pass sees now, of their average if there is one."""
        with self._averaged():
            return self._seen()

    def _averaged(self) -> contextlib.AbstractContextManager[None]:
        return self._average.in_place() if self._average else contextlib.nullcontext()

    def _seen(self) -> State:
        if self._learner:
            self._learner.refresh()
        return quantized_state_dict(self._model)

    def save(self, path: Path) -> None:
        """Write everything that the next epochs depend on."""
        stored = {
            "config": _described(self._config),
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "order": self._order.bit_generator.state,
            "augmentation": self._augment.random_state,
            "average": self._average.state if self._average else None,
            "motifs": self._projector.random_state if self._projector else None,
            "step": self._step,
            "best": self._best,
            "risen": self._best_since,
            "history": self.history,
            "states": self.states,
            "mosaic": self.mosaic.encode() if self.mosaic else None,
        }
        buffer = io.BytesIO()
        torch.save(stored, buffer)
        write_whole(path, buffer.getvalue())

    def load(self, path: Path) -> None:
        """Restore what `save` wrote; nothing if there is no such file."""
        if not path.exists():
            return
        try:
            stored = _read_whole(path)
            config = _as_now(stored["config"])
            fits = config == _described(self._config)
            if fits:
                self._restore(stored, path)
        except Exception as error:
            raise InputError(f"{path}: damaged, delete it to begin anew ({error})") from None
        if not fits:
            raise InputError(f"{path}: the interrupted run was of another configuration: {config}")

    def _restore(self, stored: Mapping[str, Any], path: Path) -> None:
        self._model.load_state_dict(stored["model"])
        self._optimizer.load_state_dict(stored["optimizer"])
        self._schedule.load_state_dict(stored["schedule"])
        self._order.bit_generator.state = stored["order"]
        if "augmentation" in stored:
            self._augment.random_state = stored["augmentation"]
        if self._average:
            self._average.state = stored["average"]
        if self._projector:
            self._projector.random_state = stored["motifs"]
        self._step, self._best = stored["step"], tuple(stored["best"])
        self._best_since = stored["risen"]
        self.history, self.states = stored["history"], stored["states"]
        self.mosaic = Mosaic.decode(stored["mosaic"], path) if stored["mosaic"] else None

    def metrics(self) -> dict[str, Any]:
        """Figures of the finished run; nothing else reads the test images."""
        self.states = {name: self.states[name] for name in ("init", "best", "last")}
        weights = self._weights
        metrics: dict[str, Any] = {
            f"{name}_test_accuracy": self._accuracy(state, self._dataset.test)
            for name, state in self.states.items()
        }
        metrics |= {
            "epochs": len(self.history),
            "best_epoch": self._best[1],
            "best_validation_accuracy": self._best[0],
            "weights": weights,
            "nominal_bits_per_weight": float(self._config.bits or 32),
        }
        self.file = self._shortest()
        if self.file is not None:
            suffix, content = self.file
            metrics |= {"file_bytes": len(content), "file_kind": suffix}
        if self.mosaic is not None:
            length = self.mosaic.description_length(self._config.bits)
            file_bits = self.mosaic.code_length()
            metrics |= {
                "file_bits": file_bits,
                "file_rac": 32 * weights / file_bits,
                "nominal_bits_per_weight": length / weights,
                "description_length": length,
                "rac": 32 * weights / length,
                "motifs": len(self.mosaic.motifs),
                "blocks": self.mosaic.partition.count,
                "motifs_used": int(np.unique(self.mosaic.indices).size),
                "notes": "; ".join(_zero_matrices(self.states["best"])),
            }
        return metrics

    def _shortest(self) -> tuple[str, bytes] | None:
        """The shorter file of the best weights; none of dense floats, which no file makes short."""
        if self._config.bits is None and self._config.mosaic is None:
            return None
        latent = self._config.bits is not None  # then the mosaic is not of the weights seen
        return shortest_file(self.states["best"], None if latent else self.mosaic)

    def _train_step(self, rows: torch.Tensor) -> float:
        self._optimizer.zero_grad(set_to_none=True)
        images = self._augment(self._images[rows])
        loss = cross_entropy(self._model(images), self._labels[rows])
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._step += 1
        if self._average:
            self._average.follow()
        if self._schedule_due():
            self._schedule.step()
        return float(loss.detach())

    def _schedule_due(self) -> bool:
        steps_an_epoch = self._steps // self._config.epochs
        return self._config.schedule == "cosine" or self._step % steps_an_epoch == 0

    def _is_due(self, epoch: int, last_of_epoch: bool) -> bool:
        """Whether a projection follows this step."""
        if self._step == self._steps:
            return True
        mosaic = self._config.mosaic
        if not isinstance(mosaic, SampledMosaic):
            return False
        if mosaic.unit == "step":
            return self._step % mosaic.every == 0
        return last_of_epoch and epoch % mosaic.every == 0

    def _keep(self, accuracy: float, epoch: int) -> None:
        self._best = (accuracy, epoch)
        self.states["best"] = self.states["last"]
        if self._projector:
            self.mosaic = self._projector.mosaic()
        if self._learner:
            self.mosaic = mosaic_of(self._model)

    def _accuracy(self, state: Mapping[str, torch.Tensor], part: Split) -> float:
        """Accuracy of the very weights that are saved, in a plain model."""
        model = self._fresh_model().eval()
        model.load_state_dict(state)
        with torch.no_grad():
            batches = torch.split(torch.from_numpy(part.images), _IMAGES)
            guesses = torch.cat([model(images).argmax(dim=1) for images in batches]).numpy()
        return float((guesses == part.labels).mean())


def _zero_matrices(state: State) -> list[str]:
    """A note for each matrix of zeros, which passes nothing on."""
    return [
        f"{name!r} is all zero, so it passes nothing on: lower the rate, or train for more steps"
        for name, tensor in state.items()
        if tensor.ndim > 1 and not tensor.any()
    ]


def _read_whole(path: Path) -> dict[str, Any]:
    """What a file of torch holds; ValueError where a record has not the checksum that it says."""
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise ValueError(f"the checksum of {damaged} is wrong")
    stored: dict[str, Any] = torch.load(path, weights_only=True)  # runs no code of the file's
    return stored


def _described(config: TrainConfig) -> str:
    return json.dumps(config.settings(), sort_keys=True)


def _as_now(described: str) -> str:
    """A described configuration as runs describe it now: settings that came later have defaults.

    The earliest had one class for both kinds of mosaics, and a ``projection`` with the settings of
    both in place of the ``mosaic``.
    """
    settings = json.loads(described)
    earlier = settings.pop("projection", None)
    if earlier is not None:
        kind = LearnedMosaic if earlier["selection"] == "learned" else SampledMosaic
        known = {field.name for field in dataclasses.fields(kind)}
        settings["mosaic"] = kind(**{n: value for n, value in earlier.items() if n in known})
    elif settings.get("mosaic") is not None:
        settings["mosaic"] = make_mosaic(settings["mosaic"])
    return _described(TrainConfig(**settings))


def _optimizer(model: torch.nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    rate, decay = config.learning_rate, config.weight_decay
    if config.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), rate, momentum=0.9, weight_decay=decay)
    return torch.optim.AdamW(model.parameters(), rate, weight_decay=decay)


def _schedule(
    optimizer: torch.optim.Optimizer, config: TrainConfig, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    if config.schedule == "constant":
        return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    turns = steps if config.schedule == "cosine" else config.epochs
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, turns)


def _learner(model: torch.nn.Module, config: TrainConfig, steps: int) -> Learner | None:
    if not isinstance(config.mosaic, LearnedMosaic):
        return None
    learner = wrap(model, config.mosaic, steps=steps, seed=config.seed)
    assert isinstance(learner, Learner)
    return learner


def _average(
    model: torch.nn.Module, learner: Learner | None, config: TrainConfig
) -> Average | None:
    """Of weights, of what norms counted, and of the steps of a learned grid."""
    if not config.average:
        return None
    own = [t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()]
    return Average([*own, learner.scales] if learner else own, config.average)


def _projector(model: torch.nn.Module, config: TrainConfig) -> MoMos | None:
    if not isinstance(config.mosaic, SampledMosaic):
        return None
    return MoMos(model, config.mosaic, config.seed)


def _projection_entry(stats: ProjectionStats | None) -> dict[str, Any]:
    if stats is None:
        return {"projected": False}
    names = ("motifs", "motifs_used", "changed", "distortion", "seconds")
    notes = {"notes": "; ".join(stats.notes)} if stats.notes else {}
    return {"projected": True} | {name: getattr(stats, name) for name in names} | notes
