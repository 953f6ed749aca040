"""A command in a forked process, that something happens to at a chosen point of its work.

Everything is imported before the fork, so that a run costs its own work alone. Points are counted,
not timed: calls that change files, bytes of the file that is written, seconds of the processor.
"""

import dataclasses
import fcntl
import mmap
import os
import resource
import signal
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from kolmo.replacing import remove_unfinished

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate", "os.link",
           "os.symlink", "sqlite3.connect", "tempfile.mkstemp", "tempfile.mkdtemp"}  # fmt: skip
COUNTER = struct.Struct("=Q")
PRINTED = 1 << 20  # bytes of a pipe
FILLER = ".filler"
"""The file that a full disk is full of."""


@dataclasses.dataclass(frozen=True)
class Fate:
    """What happens to a process, and when.

    Attributes
    ----------
    point : {"calls", "bytes", "time", "limit", "memory", "full", "both"}
        Before a call that changes files; when a file has so many bytes; after so many seconds of
        the processor. The last four send nothing: no file may have more bytes, the process may
        take no more memory than it has and so many bytes, and the disk has so many bytes left; or
        nothing happens, but that another process does the same at once.
    at : float
    signal : int
        What it is sent; a number of bytes always kills.
    """

    point: str
    at: float
    signal: int = signal.SIGKILL

    def arm(self) -> None:
        """Let it happen to this process."""
        if self.point == "bytes":
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(self.at), int(self.at)))
        elif self.point == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(self.at), int(self.at)))
        elif self.point == "memory":
            most = _memory() + int(self.at)
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
        elif self.point == "full":
            _fill(int(self.at))
        elif self.point == "time":
            kills = self.signal == signal.SIGKILL  # as this one does, which needs no Python
            signal.signal(signal.SIGPROF, signal.SIG_DFL if kills else self.send)
            signal.setitimer(signal.ITIMER_PROF, max(self.at, 1e-4))

    def send(self, *_: object) -> None:
        """Send the signal to this process."""
        os.kill(os.getpid(), self.signal)


def _fill(left: int) -> None:
    """Fill the disk of this folder up to so many bytes."""
    disk = os.statvfs(".")
    Path(FILLER).write_bytes(bytes(max(0, disk.f_bavail * disk.f_frsize - left)))


def _memory() -> int:
    """Bytes of addresses that this process has."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
    return int(pages) * resource.getpagesize()


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a process ended, and what it took.

    Attributes
    ----------
    code : int
        Its exit code; of a signal that killed it, its negative number.
    calls : int
        Calls that changed files.
    seconds : float
        Of the processor.
    out, err : str
        What it printed.
    """

    code: int
    calls: int
    seconds: float
    out: str
    err: str


def forked(main, arguments, folder: Path, fate: Fate | None = None, prepare=lambda: None) -> Ended:
    """Run a command line in a folder; see `started`."""
    return started(main, arguments, folder, fate, prepare)()


def started(
    main, arguments, folder: Path, fate: Fate | None = None, prepare=lambda: None
) -> Callable[[], Ended]:
    """Begin to run a command line in a folder; what is given waits for its end.

    Parameters
    ----------
    main : callable
        Ends by SystemExit.
    arguments : list of str
        The name of the program first.
    fate : Fate, optional
    prepare : callable
        Called in the process, before all else.
    """
    calls, printed = mmap.mmap(-1, COUNTER.size), [_pipe(), _pipe()]
    child = os.fork()
    if child == 0:
        try:
            _enter(folder, [end for _, end in printed])
            sys.argv = list(arguments)
            _count(calls, fate)
            prepare()
            if fate:
                fate.arm()
            main()
        except SystemExit as end:
            remove_unfinished()  # as Python does at the end of a program, but not of a fork
            os._exit(end.code if isinstance(end.code, int) else int(end.code is not None))
        except BaseException:
            sys.excepthook(*sys.exc_info())
        os._exit(99)  # no program ends so

    def ended() -> Ended:
        _, status, used = os.wait4(child, 0)
        out, err = (_all_of(*ends) for ends in printed)
        (number,) = COUNTER.unpack(calls[:])
        seconds = used.ru_utime + used.ru_stime
        return Ended(os.waitstatus_to_exitcode(status), number, seconds, out, err)

    return ended


def _pipe() -> tuple[int, int]:
    """Ends of a pipe, which no limit of files meets, with room for all that a command prints."""
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, PRINTED)
    return ours, theirs


def _all_of(ours: int, theirs: int) -> str:
    """What a pipe holds, though processes that somebody has left behind may hold its other end."""
    os.close(theirs)
    with open(ours, "rb", buffering=0) as pipe:
        return (pipe.read(PRINTED) or b"").decode("utf-8", "replace")


def _enter(folder: Path, printed: list[int]) -> None:
    os.setsid()
    os.chdir(folder)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number, (end, name) in enumerate(zip(printed, ("stdout", "stderr"), strict=True), start=1):
        os.dup2(end, number)
        stream = open(number, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background job ignores
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_DFL)


def _count(calls: mmap.mmap, fate: Fate | None) -> None:
    """Count the calls that change files, on whatever thread, and let the fate come at its call."""
    lock, own = threading.Lock(), os.getpid()
    due = fate.at if fate and fate.point == "calls" else None

    def hook(event: str, details: tuple) -> None:
        opens = event == "open" and isinstance(details[2], int) and details[2] & WRITING
        if not (opens or event in CHANGES) or os.getpid() != own:
            return
        with lock:
            number = COUNTER.unpack(calls[:])[0] + 1
            calls[:] = COUNTER.pack(number)
        if number == due:
            fate.send()

    sys.addaudithook(hook)
