"""Registries of named objects; a look-up imports the module of the object and no other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from kolmo import specs
from kolmo.errors import InputError

T = TypeVar("T")


class Registry(Generic[T]):
    """Classes or objects by their ``name``, which must be unique.

    Parameters
    ----------
    what : str
        The word for one of them in errors, such as ``estimator``.
    group : str, optional
        Entry points by which other packages add theirs.

    Examples
    --------
    >>> class Red:
    ...     name = "red"
    >>> colours: Registry[type[Red]] = Registry("colour")
    >>> colours.register(Red) is colours.get("red")
    True
    >>> colours.get("rod")
    Traceback (most recent call last):
    ...
    kolmo.errors.InputError: unknown colour 'rod'; did you mean red?
    """

    def __init__(self, what: str, group: str | None = None) -> None:
        self._what, self._group = what, group
        self._modules: dict[str, str] = {}
        self._entries: dict[str, T] = {}

    def declare(self, module: str, *names: str) -> None:
        """Declare that a module registers these names when it is imported.

        Raises
        ------
        InputError
            If a name is taken.
        """
        for name in names:
            self._refuse(name, module)
            self._modules[name] = module

    def register(self, entry: T) -> T:
        """Register an entry under its name; also a class decorator.

        The same class again, as when its module is loaded anew, takes the place of the first.

        Raises
        ------
        InputError
            If the name is another's; the message says where that one is.
        """
        name, (module, qualname) = name_of(entry), home_of(entry)
        self._refuse(name, module)
        if name in self._entries and home_of(self._entries[name]) != (module, qualname):
            raise self._taken(name, module)
        self._modules[name] = module
        self._entries[name] = entry
        return entry

    def names(self) -> list[str]:
        """All names, those of other packages too."""
        return sorted({*self._modules, *self._plugins})

    def get(self, name: str) -> T:
        """The entry with a name.

        Raises
        ------
        InputError
            If there is none; the message lists close names.
        """
        if name not in self._entries:
            self._load(name)
        return self._entries[name]

    @contextmanager
    def lent(self, entry: T) -> Iterator[None]:
        """In a ``with`` block this one is registered; if it was not before, it is forgotten."""
        known = name_of(entry) in self._modules
        self.register(entry)
        try:
            yield
        finally:
            if not known:
                self.forget(name_of(entry))

    def forget(self, name: str) -> None:
        """Free a name."""
        del self._entries[name], self._modules[name]

    def _load(self, name: str) -> None:
        if name in self._modules:
            import_module(self._modules[name])
        elif name in self._plugins:
            self._add(self._plugins[name])
        else:
            raise specs.unknown(self._what, name, self.names())

    def _add(self, point: EntryPoint) -> None:
        entry = point.load()
        if name_of(entry) != point.name:
            raise InputError(
                f"{point.value} is named {name_of(entry)!r}, and its entry point {point.name!r}"
            )
        self.register(entry)

    @cached_property
    def _plugins(self) -> dict[str, EntryPoint]:
        plugins: dict[str, EntryPoint] = {}
        for point in entry_points(group=self._group) if self._group else ():
            if point.name in self._modules or point.name in plugins:
                raise InputError(
                    f"two {self._what}s are named {point.name!r} (one is in {point.value})"
                )
            plugins[point.name] = point
        return plugins

    def _refuse(self, name: str, module: str) -> None:
        if self._modules.get(name, module) != module:
            raise self._taken(name, self._modules[name])

    def _taken(self, name: str, module: str) -> InputError:
        article = "an" if self._what[0] in "aeiou" else "a"
        return InputError(f"{article} {self._what} named {name!r} exists already, in {module}")


def name_of(entry: Any) -> str:
    """The name of a class or an object."""
    return str(entry.name)


def home_of(entry: Any) -> tuple[str, str]:
    """The module and the qualified name of a class, or of an object's class."""
    cls = entry if isinstance(entry, type) else type(entry)
    return cls.__module__, cls.__qualname__
