"""What estimators, quantizers and codes promise alike."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

from kolmo.errors import InputError
from kolmo.testing.checks import require


def require_spec(
    subject: Any, get: Callable[[str], object], class_of: Callable[[str], object]
) -> None:
    """The spec of a subject is that of an equal one, of the same class.

    Parameters
    ----------
    subject : Estimator or Quantizer
    get, class_of : callable
        What finds the subject of a spec, and the class of a name.
    """
    text = str(subject)
    try:
        again = get(text)
    except InputError as error:
        require(False, f"its spec {text!r} is not understood ({error}); is its class registered?")
    require(str(again) == text, f"{text!r} prints back as {str(again)!r}")
    require(again == subject, f"{text!r} is {again!r}, not {subject!r}")
    found = class_of(subject.name)
    require(found is type(subject), f"{subject.name!r} names {found}, not {type(subject)}")


def require_value(subject: Any) -> None:
    """A subject has equal copies and cannot be changed."""
    require(dataclasses.is_dataclass(subject), "it is no dataclass")
    again = pickle.loads(pickle.dumps(subject))
    require(again == subject, f"unpickled it is {again!r}, not {subject!r}")
    require(hash(again) == hash(subject), "an equal copy has another hash")
    for name in [*(field.name for field in dataclasses.fields(subject)), "another"]:
        try:
            setattr(subject, name, getattr(subject, name, None))
        except dataclasses.FrozenInstanceError:
            continue
        require(False, f"{name} can be set; make it dataclass(frozen=True)")


def require_summary(subject: Any) -> None:
    """A subject has a docstring, and a line for lists."""
    require(bool((type(subject).__doc__ or "").strip()), "it has no docstring")
    require(bool(subject.summary), "its summary is empty")
    require("\n" not in subject.summary, "its summary has more than one line")


def require_refused(call: Callable[[], object], what: str) -> None:
    """A call raises InputError."""
    try:
        call()
    except InputError:
        return
    require(False, f"{what}: no InputError")
