"""Signals that end a program: what is done is kept and what is temporary goes, as after Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}
"""The signals, as far as the system has them, and what is said of a program that one ended."""

_UNHEARD = (signal.SIG_DFL, signal.default_int_handler)


class Ending:
    """Which signal ended a program, if one did.

    Attributes
    ----------
    number : int
    came : bool
    """

    def __init__(self) -> None:
        self.number = int(signal.SIGINT)  # of a KeyboardInterrupt that no signal raised
        self.came = False

    @property
    def code(self) -> int:
        """The exit code, as shells have it.

        >>> Ending().code
        130
        """
        return 128 + self.number

    @property
    def word(self) -> str:
        """What is said of it.

        >>> Ending().word
        'interrupted'
        """
        return WORDS[signal.Signals(self.number).name]


@contextmanager
def orderly() -> Iterator[Ending]:
    """The first of these signals raises KeyboardInterrupt inside; a second one ends the program at
    once. One that is ignored, as by ``nohup``, stays so."""
    ending, before, owner = Ending(), dict[int, Any](), os.getpid()

    def interrupt(number: int, _: object) -> None:
        if os.getpid() != owner:  # a process that this one has forked
            os._exit(128 + number)
        ending.number, ending.came = number, True
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():  # no other may change them
        for number in (getattr(signal, name) for name in WORDS if hasattr(signal, name)):
            if signal.getsignal(number) in _UNHEARD:
                before[number] = signal.signal(number, interrupt)
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
