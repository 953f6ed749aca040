"""What each part of the predictive code is worth: bits with everything, and without one part.

Run: python -m tests.benchmarks.ablation CHECKPOINT...

A part is taken out by a change of the source, in a copy of the package in a temporary folder. Of
each checkpoint a few tensors are measured, up to 60,000 weights each, native and ``symmetric:8``.
The table has how much longer the code gets, in percent, and the CPU time of coding as a share of
that with everything.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
KERNEL, LAWS, CODE = "kernels_predictive.py", "kernels_laws.py", "predictive.py"
DOT = "    total = 0\n    for i in range(INPUTS):"


def no_inputs(*numbers: str) -> list[tuple[str, str, str]]:
    """Without inputs of the mixer, by their numbers as expressions."""
    zeros = "".join(f"    inputs[{number}] = 0\n" for number in numbers)
    return [(KERNEL, DOT, zeros + DOT)]


PARTS = {
    "everything": [],
    "the plain law": no_inputs("CONTEXTS"),
    "laws of columns": no_inputs("CONTEXTS + 1", "CONTEXTS + 2"),
    "... the near one": no_inputs("CONTEXTS + 1"),
    "... the far one": no_inputs("CONTEXTS + 2"),
    "laws of neighbours": no_inputs("CONTEXTS + 3", "CONTEXTS + 4"),
    "... the slow one": no_inputs("CONTEXTS + 3"),
    "... the quick one": no_inputs("CONTEXTS + 4"),
    "both maps": no_inputs("CONTEXTS + LAWS", "CONTEXTS + LAWS + 1"),
    "all laws and maps": no_inputs(*(f"CONTEXTS + {i}" for i in range(7))),
    "contexts 1 to 5": no_inputs(*map(str, range(1, 6))),
    "context 0: match, or the node": no_inputs("0"),
    "scans": [(CODE, "scan = self._scans.best(symbols)", "scan = 0")],
    "whole matches": [(KERNEL, "_SURE = 65_000", "_SURE = 1 << 20")],
    "resumed matches": [(KERNEL, "registers[_RESUMED] = 8", "registers[_RESUMED] = 0")],
    "further bits": [(KERNEL, "while left > 0 and high - low", "while left < 0 and high - low")],
    "the bound": [(CODE, "form.exponent_bits > 0 and", "form.exponent_bits < 0 and")],
    "zeros at the end": [(CODE, "few, many = _zeros(magnitudes, form)", "few, many = 0, 0")],
    "weights by the match's length": [
        (KERNEL, "kind * RUNS + min(run, RUNS - 1)", "kind * RUNS")
    ],
    "weights by sharpness": [
        (KERNEL, "state.by_sharpness[kind * _SHARPER + sharper]",
         "state.by_sharpness[kind * _SHARPER]")
    ],
}  # fmt: skip
"""Parts by name: what is replaced, in which file, by what."""

MEASURE = """
import json, sys, time
import numpy as np
from kolmo.checkpoints import open_checkpoint
from kolmo.codes.predictive import PredictiveEncoder, widest_scan
from kolmo.quantize import get_quantizer

found = {}
for path in sys.argv[1:]:
    tensors = [t for t in open_checkpoint(path).values()
               if t.numel > 4000 and len(t.shape) > 1 and "float" in str(t.dtype)]
    for spec in ("native", "symmetric:8"):
        bits = weights = seconds = 0
        for tensor in tensors[:: max(1, len(tensors) // 4)][:4]:
            coder = get_quantizer(spec).fit(tensor)
            symbols = coder.encode(tensor.read()).reshape(tensor.shape)
            symbols = np.ascontiguousarray(symbols[: max(1, 60_000 * len(symbols) // symbols.size)])
            start = time.process_time()
            encoder = PredictiveEncoder(coder.alphabet, widest_scan([symbols.shape]), keep=False)
            encoder.add(symbols)
            bits += 8 * encoder.finish()
            seconds += time.process_time() - start
            weights += symbols.size
        found[f"{path} {spec}"] = [bits / weights, seconds]
print(json.dumps(found))
"""


def main(*paths: str) -> None:
    whole = measured("everything", paths)
    names = list(whole)
    print(" " * 32, *(f"{Path(name.split()[0]).stem[:9]:>9}" for name in names), "     CPU")
    print(f"{'bits a weight':32}", *(f"{whole[name][0]:9.4f}" for name in names))
    for part in PARTS:
        if part == "everything":
            continue
        found = measured(part, paths)
        more = [100 * (found[name][0] / whole[name][0] - 1) for name in names]
        took = sum(s for _, s in found.values()) / sum(s for _, s in whole.values())
        print(f"{part:32}", *(f"{share:9.2f}" for share in more), f"{took:8.2f}", flush=True)


def measured(part, paths):
    """Bits and seconds by checkpoint and quantizer, without a part; the second run is timed."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(
            ROOT / "kolmo", Path(folder, "kolmo"), ignore=shutil.ignore_patterns("__pycache__")
        )
        shutil.copytree(
            ROOT / "momos", Path(folder, "momos"), ignore=shutil.ignore_patterns("__pycache__")
        )
        for name, old, new in PARTS[part]:
            file = Path(folder, "kolmo", "codes", name)
            text = file.read_text(encoding="utf-8")
            assert old in text, (part, old)
            file.write_text(text.replace(old, new, 1), encoding="utf-8")
        for _ in range(2):
            run = subprocess.run([sys.executable, "-c", MEASURE, *paths], cwd=folder,
                                 env={"PYTHONPATH": folder, "PATH": "/usr/bin:/bin"},
                                 capture_output=True, text=True, check=True)  # fmt: skip
        return json.loads(run.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
