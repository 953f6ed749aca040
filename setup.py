"""Compiles kolmo's loops while the package is built, so that no user waits for it at first use.

Everything else stands in pyproject.toml. Where compiling fails, or NUMBA_DISABLE_JIT is set, the
package is built without, and each function is compiled when it is first called.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class BuildCompiled(build_py):
    """Build the packages, with the machine code of this computer beside their modules."""

    def run(self) -> None:
        super().run()
        folder = compile_loops()
        if folder and not self.editable_mode:
            target = Path(self.build_lib, "kolmo", "__pycache__", folder.name)
            shutil.copytree(folder, target, dirs_exist_ok=True)


def compile_loops() -> Path | None:
    """The folder with the machine code of this clone, which a second build finds done."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "kolmo.ahead"]
    environment = {**os.environ, "PYTHONPATH": path}
    environment.pop("NUMBA_CACHE_DIR", None)  # the place that the package itself looks at
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    return Path(done.stdout.strip()) if done.returncode == 0 and done.stdout.strip() else None


setup(cmdclass={"build_py": BuildCompiled})
