"""Limits of time and memory for whatever reads an input."""

import resource
import signal
from contextlib import contextmanager
from pathlib import Path

MEMORY = 512 << 20
SECONDS = 5


class TooLongError(BaseException):
    """A reader took more of the processor's time than it may."""


@contextmanager
def limited_time(seconds):
    """TooLongError after so many seconds of the processor's time."""

    def stop(*_):
        raise TooLongError(f"over {seconds} seconds")

    old = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, old)


def limit_time(seconds):
    """End this process if it takes so many seconds more, even within a library's own loop."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def limit_memory(size=MEMORY):
    """Let this process take no more than so many bytes beyond what it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + size
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


@contextmanager
def limited_memory(size=MEMORY):
    """Let this process take no more than so many bytes beyond what it has, for a while."""
    old = resource.getrlimit(resource.RLIMIT_AS)
    limit_memory(size)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, old)
