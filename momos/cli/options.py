"""Options that are settings: a flag for each, with the type and the default of its field."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import GenericAlias
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from momos.config import LearnedMosaic, SampledMosaic
from momos.lab.config import TrainConfig
from momos.lab.datasets import DATASETS
from momos.lab.settings import setting_types

Command = Callable[..., None]
Given = Mapping[str, Any]
"""Settings that the command line names, by their field."""

Out = Annotated[
    Path, typer.Option("--out", "-o", help="Folder to write to.", rich_help_panel="Output")
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document, nothing else.", rich_help_panel="Output"),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Replace another file at the output; one that is read never is.",
        rich_help_panel="Output",
    ),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="TOML file of a run; flags replace its settings.")
]


@dataclasses.dataclass(frozen=True)
class Group:
    """Options under one heading of --help.

    Attributes
    ----------
    heading : str
    configs : tuple of dataclasses
        The classes whose fields they are.
    helps : mapping of str to str
        The line in --help of each field.
    flags : mapping of str to str
        Flags that are not named after their field.
    defaults : mapping of str to str
        Defaults, for --help, that are not those of the field.
    """

    heading: str
    configs: tuple[Any, ...]
    helps: Mapping[str, str]
    flags: Mapping[str, str] = dataclasses.field(default_factory=dict)
    defaults: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def without(self, *names: str) -> Group:
        helps = {name: text for name, text in self.helps.items() if name not in names}
        return dataclasses.replace(self, helps=helps)

    def parameters(self) -> list[inspect.Parameter]:
        return [self._parameter(name) for name in self.helps]

    def _parameter(self, name: str) -> inspect.Parameter:
        owners = [config for config in self.configs if name in setting_types(config)]
        wanted = setting_types(owners[0])[name]
        option = typer.Option(
            *([self.flags[name]] if name in self.flags else []),
            help=self.helps[name],
            rich_help_panel=self.heading,
            show_default=self.defaults.get(name) or _default(owners, name),
            metavar="|".join(get_args(wanted)) if get_origin(wanted) is Literal else None,
        )
        kind, taken = inspect.Parameter.KEYWORD_ONLY, _taken(wanted)
        return inspect.Parameter(name, kind, default=None, annotation=Annotated[taken, option])


def _taken(wanted: Any) -> Any:
    """The type that typer reads a setting as; None where its flag is not there."""
    if get_origin(wanted) is tuple:
        return GenericAlias(list, get_args(wanted)[:1]) | None
    return (str if get_origin(wanted) is Literal else wanted) | None


def _default(owners: list[Any], name: str) -> str | bool:
    """The default, as --help shows it; for each kind of mosaic where they differ."""
    shown = {owner: _shown(getattr(owner, name, None)) for owner in owners}
    texts = dict.fromkeys(text for text in shown.values() if text)
    if len(texts) > 1:
        return ", ".join(f"{text} {owner.kind}" for owner, text in shown.items())
    return next(iter(texts), False)


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def takes(*groups: Group) -> Callable[[Command], Command]:
    """Decorate a command: it takes the groups' options, and those in use come as ``given``.

    Typer reads options off a function's signature, so the decorated function has one with an
    option for each setting in place of ``given``.
    """
    settings = [parameter for group in groups for parameter in group.parameters()]

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def run(**arguments: Any) -> None:
            values = {parameter.name: arguments.pop(parameter.name) for parameter in settings}
            given = {name: value for name, value in values.items() if value not in (None, [])}
            lists = {name: tuple(v) for name, v in given.items() if isinstance(v, list)}
            command(**arguments, given=given | lists)

        own = inspect.signature(command, eval_str=True).parameters.values()
        parameters = [*settings, *(p for p in own if p.name != "given")]
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
        run.__dict__["__signature__"] = inspect.Signature(parameters)
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


DATA = Group(
    "Data",
    (TrainConfig,),
    {
        "data": f"Data set: {', '.join(DATASETS)}.",
        "folder": "Folder of its files, where it is not bundled.",
    },
)
MODEL = Group(
    "Model",
    (TrainConfig,),
    {
        "model": "Architecture.",
        "layers": "Linear layers of the MLP.",
        "hidden": "Width between the layers of the MLP.",
        "plan": "Layers of the convnet: c8 a convolution to 8 channels, d a depthwise one, after "
        "them k5, s2, g4 for kernel, stride, groups, m for the maximum of 2 x 2; last a: the mean.",
    },
)
OPTIMIZATION = Group(
    "Optimization",
    (TrainConfig,),
    {
        "epochs": "Times through the training images.",
        "batch_size": "Images a step.",
        "patience": "Stop after this many epochs without a better validation.",
        "optimizer": "SGD has momentum 0.9.",
        "learning_rate": "Learning rate at the start.",
        "weight_decay": "Weight decay of the optimizer.",
        "schedule": "Fall of the learning rate: step by step, epoch by epoch, or none.",
        "shift": "Move images by up to so many pixels at random.",
        "flip": "Mirror half of the images at random.",
        "average": "Keep the exponential moving average of the weights, of this decay a step.",
    },
)
SEED = Group("Optimization", (TrainConfig,), {"seed": "Seed of everything random."})
MOSAIC = Group(
    "Mosaic",
    (SampledMosaic, LearnedMosaic),
    {
        "rate": "Learn a mosaic; a bit of index costs this much squared distance; with --bits "
        "1,000 bits cost this much loss.",
        "sparsity": "Learn a mosaic with this share of zero weights.",
        "ramp": "Share of the steps over which the rate and the sparsity rise.",
        "selection": "Motifs: blocks of the model, or k-means of them; or: learned.",
        "block_size": "Weights a block.",
        "motifs": "Number of motifs.",
        "capacity": "Motifs as a share of the blocks, instead.",
        "zero_motif": "Whether motif 0 of a sampled mosaic is the zero block.",
        "scale": "Divide blocks by one scale a tensor, one a channel, or none.",
        "precision": "Format of stored learned motifs.",
        "every": "Epochs or steps to the next projection of sampled motifs; steps to the next "
        "refit of learned ones.",
        "unit": "What --every of a sampled mosaic counts.",
        "policy": "Kinds of parameters that take part.",
        "include": "Only tensors whose name matches this glob take part.",
        "exclude": "No tensor whose name matches this glob takes part.",
    },
    defaults={
        "rate": "6, 0 with --sparsity",
        "motifs": "5 learned",
        "capacity": "0.01 sampled",
        "unit": "epoch",
    },
)
QUANTIZATION = Group(
    "Quantization",
    (TrainConfig,),
    {"bits": "Quantization-aware training at this many bits; with --rate a grid that is learned."},
)
