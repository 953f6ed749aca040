"""The same learned mosaic from other people's trainers."""

from __future__ import annotations

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import Trainer, TrainingArguments

import momos
from momos import LearnedMosaic, LightningMosaic, TransformersMosaic

CONFIG = LearnedMosaic(motifs=4, rate=1.0, every=3)
X = torch.randn(64, 12, generator=torch.Generator().manual_seed(0))
Y = X[:, :4].argmax(dim=1)


def by_hand(epochs=2):
    """The mosaic from a plain loop over the same batches: SGD, 16 rows each, in order."""
    model = momos.MLP([12, 24, 4])
    momos.wrap(model, CONFIG, steps=4 * epochs)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(epochs):
        for x, y in zip(X.split(16), Y.split(16), strict=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    return momos.freeze(model)


class Module(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layers = momos.MLP([12, 24, 4]).layers

    def logits(self, x):
        return self.layers[1](torch.relu(self.layers[0](x)))

    def training_step(self, batch, _):  # calls its parts, never the module itself
        return nn.functional.cross_entropy(self.logits(batch[0]), batch[1])

    def validation_step(self, batch, _):
        self.seen = self.logits(batch[0])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore")  # the library's own
def test_lightning(tmp_path):
    loader = DataLoader(TensorDataset(X, Y), batch_size=16)
    callback, module = LightningMosaic(CONFIG), Module()
    trainer = pl.Trainer(
        max_epochs=2, callbacks=[callback], default_root_dir=tmp_path, accelerator="cpu",
        logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, loader, loader)
    assert_same(callback.mosaic, by_hand())
    for name, tensor in callback.mosaic.state_dict().items():
        assert torch.equal(tensor, module.state_dict()[name])
    with torch.no_grad():
        assert torch.equal(module.seen, module.logits(X[-16:]))


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = momos.MLP([12, 24, 4]).layers

    def forward(self, x, labels=None):
        logits = self.layers[1](torch.relu(self.layers[0](x)))
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class InOrder(Trainer):
    def _get_train_sampler(self, *_):
        return torch.utils.data.SequentialSampler(self.train_dataset)


@pytest.mark.filterwarnings("ignore")  # the library's own
def test_transformers(tmp_path):
    rows = [{"x": x, "labels": y} for x, y in zip(X, Y, strict=True)]
    callback, model = TransformersMosaic(CONFIG), Classifier()
    arguments = TrainingArguments(
        output_dir=str(tmp_path), num_train_epochs=2, per_device_train_batch_size=16,
        optim="sgd", learning_rate=0.1, lr_scheduler_type="constant", max_grad_norm=0,
        report_to=[], save_strategy="no", use_cpu=True, disable_tqdm=True,
        dataloader_pin_memory=False,
    )  # fmt: skip
    InOrder(model=model, args=arguments, train_dataset=rows, callbacks=[callback]).train()
    assert_same(callback.mosaic, by_hand())
    for name, tensor in callback.mosaic.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])


def assert_same(found, expected):
    assert np.array_equal(found.motifs, expected.motifs)
    assert np.array_equal(found.indices, expected.indices)
