"""Commands in processes of their own, each forked from one that has imported everything.

    with Forks() as forks:
        ended = forks.run("kolmo", "analyze", path)

A child may use `SECONDS` of the processor's time, counted from the fork, and `MEMORY` bytes of
address space above what its parent has, which covers everything that it maps; the system kills it
beyond the first (RLIMIT_CPU), and it gets no memory beyond the second (RLIMIT_AS).
"""

import dataclasses
import json
import os
import resource
import subprocess
import sys
import tempfile
import traceback
from importlib import import_module
from pathlib import Path

import numpy as np

from tests.fuzz.limits import MEMORY, SECONDS, limit_memory


@dataclasses.dataclass(frozen=True)
class Ended:
    """What a command printed, its exit code (negative: the signal that killed it), what it took."""

    returncode: int
    stdout: str
    stderr: str
    seconds: float
    memory: int


class Forks:
    """A process that forks for every command."""

    def __enter__(self):
        environment = {
            **os.environ,
            "MALLOC_ARENA_MAX": "1",
        }  # threads reserve no room of their own
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.corpus.forks"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        return self

    def __exit__(self, *_):
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait()

    def run(self, program, *arguments, seconds=SECONDS, memory=MEMORY):
        """What became of a command of kolmo or momos."""
        task = [program, [str(argument) for argument in arguments], seconds, memory]
        print(json.dumps(task), file=self._server.stdin, flush=True)
        return Ended(**json.loads(self._server.stdout.readline()))


def serve():
    """Answer each line of standard input, which is a command, by what became of it."""
    mains = _imported()
    for line in sys.stdin:
        print(json.dumps(dataclasses.asdict(_forked(mains, *json.loads(line)))), flush=True)


def _imported():
    """The programs, after each command has been used once."""
    import kolmo.cli
    import momos.cli

    import_module("torch")  # which expanding a mosaic needs

    mains = {"kolmo": kolmo.cli.main, "momos": momos.cli.main}
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder, "sound.npy")
        np.save(sound, np.arange(64, dtype=np.float32).reshape(8, 8))
        packed = sound.with_suffix(".kmo")
        for command in (
            ["analyze", sound, "-q", "symmetric:8", "-e", "kt", "--json"],
            ["inspect", sound],
            ["compare", sound, sound, "-q", "symmetric:8", "-e", "kt", "--json"],
            ["delta", sound, sound],
            ["pack", sound, "-o", packed],
            ["verify", packed],
            ["unpack", packed, "-o", sound.with_suffix(".safetensors")],
        ):
            _called(mains["kolmo"], list(map(str, command)), os.devnull, os.devnull)
    return mains


def _forked(mains, program, arguments, seconds, memory):
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        child = os.fork()
        if not child:
            limit_memory(memory)
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
            os._exit(_called(mains[program], arguments, out, err))
        _, status, used = os.wait4(child, 0)
        return Ended(
            os.waitstatus_to_exitcode(status),
            out.read_text("utf-8", "backslashreplace") if out.exists() else "",
            err.read_text("utf-8", "backslashreplace") if err.exists() else "",
            used.ru_utime + used.ru_stime,
            used.ru_maxrss << 10,
        )


def _called(main, arguments, out, err):
    """The exit code of a program that runs in this process, its output in two files."""
    kept = sys.argv, sys.stdout, sys.stderr
    with open(out, "w", encoding="utf-8") as stdout, open(err, "w", encoding="utf-8") as stderr:
        sys.argv, sys.stdout, sys.stderr = ["program", *arguments], stdout, stderr
        try:
            main()
        except SystemExit as ended:
            return ended.code or 0
        except BaseException:
            traceback.print_exc(file=stderr)
            return 70
        finally:
            sys.argv, sys.stdout, sys.stderr = kept
    return 0


if __name__ == "__main__":
    serve()
