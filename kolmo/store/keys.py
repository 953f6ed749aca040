"""Keys of results: everything that a figure depends on, and nothing else.

::

    content of the tensor × quantizer × estimator × null, draw, seed, name × scope × versions

A figure belongs to a content. The reason why there is no figure speaks of a tensor by its name, and
belongs to both: a result has a key of either kind, and is kept under the one that fits it. The
draws of a null are seeded with names, and have no other key.

Versions are those of the estimator, the quantizer and the null (`Spec.version`), of the libraries
behind them and of numpy and numba. In a working tree, where code changes and versions do not, the
content of every source file counts too; of a plugin, the version of its distribution and the
content of its file. What has no version, such as a class of a notebook, has no key.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import json
import platform
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from blake3 import blake3

from kolmo.estimators.base import CodeLength, Estimator
from kolmo.nulls import Null, Reference
from kolmo.provenance import library_version
from kolmo.quantize import Quantizer
from kolmo.specs import Spec

RULES = 1
"""Raised when what all results share changes, so that every earlier one is forgotten: the draws of
nulls, the sum over a model's tensors, side information."""

_CONTEXT = "kolmo 2026 key of a result"
_SOFTWARE = ("numpy", "numba", "ml_dtypes")
_PLAIN = (bool, int, float, str, type(None))
_PACKAGE = Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class ResultKey:
    """Where a result is kept.

    Attributes
    ----------
    content : bytes
        The key of a figure.
    names : bytes
        What else the key of a reason why there is no figure depends on.
    label : str
        The measurement, for people.
    """

    content: bytes
    names: bytes
    label: str = dataclasses.field(default="", compare=False)

    @functools.cached_property
    def named(self) -> bytes:
        """The key of a reason why there is no figure."""
        return _digest(_framed([self.content]) + self.names)


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is measured.

    Attributes
    ----------
    digest : bytes
        Of the content: `kolmo.digests.digest`, or `object_digest` of several tensors.
    names : tuple of str
        Of the tensors, in order.
    scope : str
        What the digest is of: ``tensor``, ``model``, or any other word for objects of another kind.
    """

    digest: bytes
    names: tuple[str, ...]
    scope: str = "tensor"

    @functools.cached_property
    def content_id(self) -> bytes:
        return _join([self.scope.encode(), self.digest])

    @functools.cached_property
    def names_id(self) -> bytes:
        return _join([name.encode("utf-8", "surrogatepass") for name in self.names])


def make_key(
    subject: Subject,
    quantizer: Quantizer,
    estimator: Estimator,
    null: Null | None = None,
    number: int = 0,
    seed: int = 0,
    *,
    partner: bytes | None = None,
    also: Sequence[Spec] = (),
) -> ResultKey | None:
    """The key of one measurement.

    Parameters
    ----------
    subject : Subject
    quantizer, estimator : Quantizer, Estimator
    null : Null, optional
        None for the weights themselves.
    number, seed : int
        The number of the null's draw, and the seed of the run.
    partner : bytes, optional
        Of a ``reference``, the digest of what is measured in the tensor's place.
    also : sequence of specs
        Whatever else takes part, such as the codes that a difference chooses from.

    Returns
    -------
    ResultKey or None
        None if a version is unknown, or a reference has no partner: the result is not to be kept.

    Examples
    --------
    >>> from kolmo import get_estimator, get_quantizer
    >>> sign, kt, zstd = get_quantizer("sign"), get_estimator("kt"), get_estimator("zstd")
    >>> one, tied = Subject(bytes(32), ("a",)), Subject(bytes(32), ("b",))
    >>> make_key(one, sign, kt).content == make_key(tied, sign, kt).content
    True
    >>> make_key(one, sign, kt).named == make_key(tied, sign, kt).named
    False
    >>> make_key(one, sign, kt) == make_key(one, sign, zstd), make_key(one, sign, kt).label
    (False, 'kt of sign')
    """
    made = _measurement(quantizer, estimator, *also)
    drawn = b"" if null is None else _draw(subject, null, number, seed, partner)
    if drawn is None or made is None:
        return None
    content = _digest(_framed([subject.content_id, drawn]) + made)
    of_null = str(null or "").encode("utf-8", "surrogatepass")
    return ResultKey(content, _framed([subject.names_id, of_null]), _label(quantizer, estimator))


def record_key(content: bytes, what: str, version: int, fields: Sequence[str]) -> ResultKey | None:
    """The key of a record of facts, which follow from the content of one tensor alone.

    Parameters
    ----------
    content : bytes
        The tensor's digest.
    what : str
        Which facts.
    version : int
        Raised when what they mean changes.
    fields : sequence of str
        Their names.

    Returns
    -------
    ResultKey or None
        None if it is unknown which code finds them.

    Examples
    --------
    >>> record_key(bytes(32), "facts", 1, ["sd"]) == record_key(bytes(32), "facts", 2, ["sd"])
    False
    """
    origin = _origin(_PACKAGE.name)
    if origin is None:
        return None
    software = {name: library_version(name) for name in _SOFTWARE}
    facts = [what, version, list(fields), origin, software, *_shared()]
    return ResultKey(_join([content, json.dumps(facts, sort_keys=True).encode()]), b"", what)


def _draw(
    subject: Subject, null: Null, number: int, seed: int, partner: bytes | None
) -> bytes | None:
    """What a draw depends on besides the content of the tensor."""
    if isinstance(null, Reference):  # its weights, wherever they are, are all that counts
        return partner and _join([null.name.encode(), str(null.version).encode(), partner])
    of_null = _identity(null) if null.kept else None
    return of_null and _join([of_null, f"{number} {seed}".encode(), subject.names_id])


@functools.lru_cache(4096)
def _measurement(*specs: Spec) -> bytes | None:
    """The identities of what measures; None if one is unknown."""
    ids = [_identity(spec) for spec in specs]
    known = [each for each in ids if each is not None]
    return _framed(known) if len(known) == len(ids) else None


@functools.lru_cache(4096)
def _label(quantizer: Quantizer, estimator: Estimator) -> str:
    return f"{estimator} of {quantizer}"


@functools.lru_cache(4096)
def _identity(spec: Spec) -> bytes | None:
    """A digest of the class of a spec, its version and its fields; None if one is unknown."""
    cls, origin = type(spec), _origin(type(spec).__module__)
    names = [field.name for field in dataclasses.fields(spec) if field.compare]  # type: ignore[arg-type]
    fields = {name: getattr(spec, name) for name in names}
    plain = all(type(value) in _PLAIN for value in fields.values())
    if not plain or origin is None:
        return None
    facts = [cls.__module__, cls.__qualname__, cls.name, cls.version, fields, origin]
    software = {name: library_version(name) for name in (*_SOFTWARE, *cls.software)}
    return _join([json.dumps([*facts, software, *_shared()], sort_keys=True).encode()])


@functools.cache
def _shared() -> tuple[Any, ...]:
    """What every result depends on: the rules, what a result holds, the kind of machine."""
    return RULES, [field.name for field in dataclasses.fields(CodeLength)], platform.machine()


@functools.cache
def _origin(module: str) -> str | None:
    """Which code a module is, beyond what its version says; None if nothing tells."""
    package = module.partition(".")[0]
    if package == _PACKAGE.name:
        return _working_tree()
    file, told = getattr(sys.modules.get(module), "__file__", None), _distributions(package)
    return f"{told} {_of_files([Path(file)])}" if file and told else None


def _distributions(package: str) -> str:
    """The distributions that a package comes with, and their versions; empty if none is known."""
    if package == "__main__":
        return ""
    known = library_version(package)
    names = [package] if known else importlib.metadata.packages_distributions().get(package, [])
    return " ".join(f"{name} {library_version(name)}" for name in sorted(set(names)))


@functools.cache
def _working_tree() -> str | None:
    """A digest of all sources where this package lies in a working tree, else empty."""
    if not _PACKAGE.with_name("pyproject.toml").exists():
        return ""
    return _of_files(sorted(_PACKAGE.rglob("*.py")))


def _of_files(paths: Iterable[Path]) -> str | None:
    try:
        return _join([path.read_bytes() for path in paths]).hex()
    except OSError:
        return None


def _join(parts: Iterable[bytes]) -> bytes:
    """A digest of several texts, of which none runs into the next."""
    return _digest(_framed(parts))


def _framed(parts: Iterable[bytes]) -> bytes:
    """Texts in a row, each with its length ahead."""
    return b"".join([len(part).to_bytes(8, "little") + part for part in parts])


def _digest(framed: bytes) -> bytes:
    state = _EMPTY.copy()
    state.update(framed)
    return state.digest()


_EMPTY = blake3(derive_key_context=_CONTEXT)
