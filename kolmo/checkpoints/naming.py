"""What the names of a checkpoint's files say: which model, which of its shards, which variant.

The names are those that the programs give which write them: ``model-00001-of-00002.safetensors``
and ``model.safetensors.index.json`` of transformers, ``diffusion_pytorch_model.fp16.bin`` of
diffusers, ``consolidated.00.pth`` of Llama, ``optimizer.pt`` and ``rng_state_0.pth`` of trainers.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable

_INDEX = re.compile(r"(.+?)\.index(?:\.(\w+))?\.json")
_SHARD = re.compile(r"(.*?)[-._]?([0-9]{1,6})[-_]of[-_]([0-9]{1,6})(.*)")
_NUMBERED = re.compile(r"([0-9]{1,6})[-_]of[-_][0-9]{1,6}")
_SLICE = re.compile(r"(consolidated)\.([0-9]{2,3})")
_PRECISION = re.compile(r"(.+?)[-._](fp16|fp32|bf16|float16|float32|bfloat16|half|fp8)", re.I)
_FILE = re.compile(r"\.[a-z]+[0-9]?$")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w-]*/[\w-][\w.-]*(@[\w.-]+)?")

# What the one model of a folder is called, by the programs that write it in several formats.
_MAIN = (
    "model",
    "pytorch_model",
    "tf_model",
    "flax_model",
    "rust_model",
    "consolidated",
    "diffusion_pytorch_model",
    "diffusion_flax_model",
    "open_clip_pytorch_model",
    "open_clip_model",
)

_TRAINING = re.compile(
    r"(.*[._-])?(optim|optimizer|optimizers|optim_states?|optimizer_states?|scheduler|lr_scheduler|"
    r"scaler|grad_scaler|rng_states?|random_states|training_args|trainer_state|sampler|dataloader|"
    r"dl_state_dict|dl_state|custom_checkpoint|train_state)([._-]?[0-9]++)*+(\.(pt|pth|bin|pkl|safetensors|npz))?"
)


@dataclasses.dataclass(frozen=True)
class Name:
    """What the name of a file says.

    Attributes
    ----------
    stem : str
        The model's name; files of one stem are one model in several formats or variants.
    variant : str
        Such as ``fp16``; empty for the model as it is.
    ending : str
        Of the format, with its point; empty if it is none that is known.
    number, total : int
        Which shard this is, of how many; 0 for a whole model. A slice of Llama's has no total.
    is_index : bool
        Whether it is the index of shards.
    """

    stem: str
    variant: str
    ending: str
    number: int = 0
    total: int = 0
    is_index: bool = False
    is_slice: bool = False

    @property
    def model(self) -> str:
        """The model: the stem, and one word for all stems that stand for a folder's own model."""
        return "model" if self.is_main else self.stem

    @property
    def is_main(self) -> bool:
        """Whether it is called as the one model of a folder is."""
        return self.stem in _MAIN


def parsed(name: str, endings: Iterable[str]) -> Name:
    """What a file's name says; ``endings`` are those of the formats, such as ``.weights.h5``.

    >>> found = parsed("model.fp16-00001-of-00002.safetensors", [".safetensors"])
    >>> found.stem, found.variant, found.ending, found.number, found.total
    ('model', 'fp16', '.safetensors', 1, 2)
    >>> found = parsed("pytorch_model.bin.index.json", [".bin"])
    >>> found.model, found.ending, found.is_index
    ('model', '.bin', True)
    """
    index = _INDEX.fullmatch(name)
    body, ending = _without_ending(index[1] if index else name, endings)
    number = total = 0
    if shard := _SHARD.fullmatch(body):
        body, number, total = shard[1] + shard[4], int(shard[2]), int(shard[3])
    part = _SLICE.fullmatch(body)
    if part:
        body, number = part[1], int(part[2])
    stem, variant = _without_variant(body)
    variant = (index and index[2]) or variant
    return Name(stem or "model", variant, ending, number, total, bool(index), bool(part))


def is_training(name: str) -> bool:
    """Whether a file or a folder is called as the state of a training, never as a model.

    >>> [is_training(name) for name in ("optimizer.pt", "rng_state_0.pth", "model.pt")]
    [True, True, False]
    """
    return bool(_TRAINING.fullmatch(name)) or "optim_states" in name


def sibling(name: str, number: int) -> str:
    """The name of another shard of the same model.

    >>> sibling("model-00001-of-00012.safetensors", 12)
    'model-00012-of-00012.safetensors'
    """
    found = _NUMBERED.search(name)
    assert found
    return f"{name[: found.start()]}{number:0{len(found[1])}}{name[found.end(1) :]}"


def hub_hint(path: str) -> str:
    """How to name a model of the Hugging Face Hub, where a path that is nowhere may be one.

    >>> hub_hint("org/model-v1.5"), hub_hint("runs/step.safetensors")
    ('; a model of the Hugging Face Hub is  hf://org/model-v1.5', '')
    """
    is_file = os.path.isdir(path.partition("/")[0]) or _FILE.search(path)
    if is_file or not _HUB_ID.fullmatch(path):
        return ""
    return f"; a model of the Hugging Face Hub is  hf://{path}"


def _without_ending(name: str, endings: Iterable[str]) -> tuple[str, str]:
    lower = name.lower()
    found = max((e for e in endings if lower.endswith(e)), key=len, default="")
    return (name[: -len(found)], found) if found else (name, "")


def _without_variant(body: str) -> tuple[str, str]:
    stem, _, variant = body.partition(".")
    if variant and stem in _MAIN:
        return stem, variant
    precise = _PRECISION.fullmatch(body)
    return (precise[1], precise[2]) if precise else (body, "")
