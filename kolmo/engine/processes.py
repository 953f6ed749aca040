"""Processes that run jobs of many small tensors, of which Python's own work is the most.

Threads take turns at that; processes do it side by side. These are not those of
`concurrent.futures`, which import the program's main module anew: a script or a notebook needs no
guard for them. What cannot be sent to one, or is lost with one, is done here.
"""

from __future__ import annotations

import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from typing import IO, Any, cast

from kolmo.execution import rare_collections

_BEGIN = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from kolmo.engine.processes import serve; serve()"
)
_LENGTH = struct.Struct("<Q")


class Processes(Executor):
    """So many processes at most, each of which begins when it is first needed.

    >>> with Processes(1) as processes:
    ...     processes.submit(divmod, 7, 2).result()
    (3, 1)
    """

    def __init__(self, workers: int) -> None:
        self._threads = ThreadPoolExecutor(workers, "kolmo-process")
        self._own = threading.local()
        self._all: list[_Process] = []
        self._lock, self._is_over = threading.Lock(), False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        assert not kwargs
        return self._threads.submit(self._ask, fn, args)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes, whatever they do."""
        with self._lock:
            self._is_over = True
        for process in self._all:
            process.kill()
        self._threads.shutdown(wait, cancel_futures=cancel_futures)
        for process in self._all if wait else ():
            process.close()

    def _ask(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        mine = self._mine()
        answer = mine.ask((function, arguments)) if mine else None
        if answer is None and self._is_over:
            raise CancelledError
        if answer is None:
            return function(*arguments)
        done, result = answer
        if not done:
            raise result
        return result

    def _mine(self) -> _Process | None:
        """The process of this thread, if it has one."""
        with self._lock:
            if self._is_over:
                raise CancelledError
            if not hasattr(self._own, "process"):
                self._own.process = _Process.begin()
                self._all += [self._own.process] if self._own.process else []
        return cast(_Process | None, self._own.process)


class _Process:
    """One process, and the pipes to and from it."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", _BEGIN]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._lost = not self._sent(pickle.dumps(sys.path))

    @classmethod
    def begin(cls) -> _Process | None:
        """A new one; None where the system gives no more, or Python is a part of another program
        and cannot be started."""
        try:
            return cls()
        except (OSError, TypeError):
            return None

    def ask(self, task: object) -> tuple[bool, Any] | None:
        """Whether the task succeeded, and its result or error; None if it was not done."""
        try:
            data = pickle.dumps(task)
        except Exception:  # of whatever kind the class that refuses it likes
            return None
        if self._lost or not self._sent(_LENGTH.pack(len(data)) + data):
            return None
        assert self._process.stdout
        answer = _received(self._process.stdout)
        self._lost = answer is None
        return pickle.loads(answer) if answer else None

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        """Wait for its end, and close the pipes."""
        with self._process:
            pass

    def _sent(self, data: bytes) -> bool:
        assert self._process.stdin
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except OSError:
            return False
        return True


def _received(stream: IO[bytes]) -> bytes | None:
    """The next message; None at the end."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    data = stream.read(length)
    return data if len(data) == length else None


# --- in the process -------------------------------------------------------------------------


def serve() -> None:
    """Do what is asked on the standard input, until it ends."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # the program itself decides when to stop, and
        if hasattr(signal, name):  # its end is the end of the input
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever is printed goes elsewhere
    with rare_collections():
        while (task := _received(sys.stdin.buffer)) is not None:
            answer = _answer(task)
            answers.write(_LENGTH.pack(len(answer)) + answer)
            answers.flush()


def _answer(task: bytes) -> bytes:
    """What became of a task: nothing, if it cannot be read here, as it needs a class of a program's
    main module, or its result cannot be sent."""
    try:
        function, arguments = pickle.loads(task)
    except Exception:  # whatever a class raises: the program itself does it, and meets the error
        return b""
    try:
        return _sendable(True, function(*arguments))
    except Exception as error:
        return _sendable(False, error)


def _sendable(done: bool, result: Any) -> bytes:
    """The answer, if it can be sent and, of an error, read again."""
    try:
        data = pickle.dumps((done, result))
        return data if done or pickle.loads(data) else b""
    except Exception:  # the program itself does it again, so that nothing is lost with the answer
        return b""
