"""The monitors of other people's trainers: what they log, and a training that is untouched."""

from __future__ import annotations

import csv
import json

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import Trainer, TrainingArguments

import kolmo
from kolmo.callbacks import LightningMonitor, Monitor, TransformersMonitor

X = torch.randn(64, 12, generator=torch.Generator().manual_seed(0))
Y = X[:, :4].argmax(dim=1)
OPTIONS = {"every": 4, "share": None, "draws": 2}


def filled(model):
    """The model with weights that depend on nothing else."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.2, generator=generator)
    return model


def assert_measured(reading, model):
    """The reading is what kolmo measures of the model now."""
    row = kolmo.analyze(
        Monitor(model).windows(), quantizers=reading.quantizer, estimators=reading.estimator,
        nulls="shuffled", draws=reading.draws, scope="model", store=None,
    ).table.iloc[0]  # fmt: skip
    assert reading.bits_per_weight == row.bits_per_weight
    assert reading.share_of_shuffle == pytest.approx(row.bits / row.null_bits, rel=1e-12)


class Module(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layers = filled(nn.Sequential(nn.Linear(12, 24), nn.Dropout(0.3), nn.Linear(24, 4)))

    def training_step(self, batch, _):
        loss = nn.functional.cross_entropy(self.layers(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.05)


def fit(folder, callbacks, **options):
    torch.manual_seed(3)
    module, logger = Module(), CSVLogger(folder)
    trainer = pl.Trainer(
        max_epochs=2, callbacks=callbacks, logger=logger, accelerator="cpu", log_every_n_steps=1,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        **options,
    )  # fmt: skip
    loader = DataLoader(TensorDataset(X, Y), batch_size=16, shuffle=True)
    trainer.fit(module, loader)
    with open(f"{logger.log_dir}/metrics.csv", encoding="utf-8") as file:
        return module, list(csv.DictReader(file))


@pytest.mark.filterwarnings("ignore")  # the library's own
def test_lightning(tmp_path):
    callback = LightningMonitor(**OPTIONS)
    module, rows = fit(tmp_path / "with", [callback])
    bare, _ = fit(tmp_path / "without", [])
    assert all(map(torch.equal, module.parameters(), bare.parameters()))
    history = callback.monitor.history
    assert [reading.step for reading in history] == [0, 4, 8]
    name = "kolmo/bits_per_weight"
    logged = {int(row["step"]): float(row[name]) for row in rows if row[name]}
    assert logged == {reading.step: reading.bits_per_weight for reading in history}
    assert_measured(history[-1], module)
    assert_measured(history[0], Module())


@pytest.mark.filterwarnings("ignore")  # the library's own
def test_lightning_reads_once_a_step_where_gradients_accumulate(tmp_path):
    callback, told = (
        LightningMonitor(every=1, share=None, draws=0, log=lambda r: told.append(r)),
        [],
    )
    fit(tmp_path, [callback], accumulate_grad_batches=2)
    assert [reading.step for reading in told] == [0, 1, 2, 3, 4]


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = filled(nn.Sequential(nn.Linear(12, 24), nn.Dropout(0.3), nn.Linear(24, 4)))

    def forward(self, x, labels=None):
        logits = self.layers(x)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def trainer_of(folder, callbacks=()):
    rows = [{"x": x, "labels": y} for x, y in zip(X, Y, strict=True)]
    arguments = TrainingArguments(
        output_dir=str(folder), num_train_epochs=2, per_device_train_batch_size=16,
        learning_rate=0.05, report_to=[], save_strategy="no", use_cpu=True, disable_tqdm=True,
        dataloader_pin_memory=False, seed=7, logging_steps=2,
    )  # fmt: skip
    return Trainer(
        model=Classifier(), args=arguments, train_dataset=rows, callbacks=list(callbacks)
    )


def of_history(trainer, name):
    return {row["step"]: row[name] for row in trainer.state.log_history if name in row}


@pytest.mark.filterwarnings("ignore")  # the library's own
def test_transformers(tmp_path):
    attached = trainer_of(tmp_path)
    callback = TransformersMonitor.attach(attached, **OPTIONS)
    attached.train()
    bare = trainer_of(tmp_path)  # which seeds torch anew
    bare.train()
    assert all(map(torch.equal, attached.model.parameters(), bare.model.parameters()))
    assert of_history(attached, "loss") == of_history(bare, "loss")
    assert list(of_history(attached, "loss")) == [2, 4, 6, 8]
    history = callback.monitor.history
    assert [reading.step for reading in history] == [0, 4, 8]
    for reading in history:
        for name, value in reading.figures.items():
            assert of_history(attached, name)[reading.step] == value
        assert of_history(attached, "kolmo/verdict_text")[reading.step] == reading.text
    json.dumps(attached.state.log_history)
    assert_measured(history[-1], attached.model)
    assert_measured(history[0], Classifier())


@pytest.mark.filterwarnings("ignore")  # the library's own
def test_transformers_without_its_trainer(tmp_path):
    told = []
    callback = TransformersMonitor(log=told.append, **OPTIONS)
    trainer = trainer_of(tmp_path, [callback])
    trainer.train()
    assert told == callback.monitor.history
    assert of_history(trainer, "kolmo/bits_per_weight") == {r.step: r.bits_per_weight for r in told}
