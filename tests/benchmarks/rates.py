"""Measure what work costs and write the table that kolmo ships, kolmo/rates/shipped.json.

Run: python -m tests.benchmarks.rates [SPEC]...

Seconds of CPU (all threads of the process), the best of a few runs, of every estimator, quantizer
and null on heavy-tailed weights, at sizes that grow until one takes ``ENOUGH`` more. With specs,
only these estimators (or quantizers, nulls, ``reading``, ``hashing``) are measured anew. Points of
larger sizes are those of runs on large checkpoints, where a search leaves memory; they are kept.
"""

import json
import math
import sys
import tempfile
import time
from pathlib import Path

import blake3
import ml_dtypes
import numpy as np

from kolmo.checkpoints.base import array_tensor
from kolmo.checkpoints.files import read_at
from kolmo.defaults import DEFAULT_MEASUREMENTS
from kolmo.errors import KolmoError, NotApplicableError
from kolmo.estimators import estimator_class, estimator_names, get_estimator
from kolmo.nulls import NULLS, get_null
from kolmo.quantize import get_quantizer
from kolmo.rates.machine import workload_seconds
from kolmo.rates.work import coding, estimating_symbols, weight_form

TABLE = Path(__file__).parents[2] / "kolmo" / "rates" / "shipped.json"
SIDES = (4, 64, 256, 1024)
ENOUGH = 0.05  # seconds; beyond the fixed cost; a size that takes as long is the last
QUANTIZERS = ("native", "sign", "symmetric:4", "symmetric:8", "affine:4", "affine:8", "codebook:16",
              "symmetric:8,axis=row", "nmse:0.001", "nmse:0.001,axis=tensor")  # fmt: skip
SYMBOLS = (("native", "bf16"), ("native", "f32"), ("sign", "f32"), ("symmetric:4", "f32"),
           ("symmetric:8", "f32"))  # fmt: skip
LAYOUTS = ("shuffle", "packed", "bitplanes")
_NULLS = {"inits": "inits:kaiming_uniform"}
DTYPES = {"bf16": np.dtype(ml_dtypes.bfloat16), "f32": np.dtype(np.float32)}


def specs():
    """The default ones first, every estimator, levels of compressors, and layouts of some."""
    found = [spec for default in DEFAULT_MEASUREMENTS.values() for spec in default]
    found += [*estimator_names(), "bdm,ndim=2", "bdm,window=4096", "ctm,ndim=2", "qubd,ndim=1"]
    for name in ("gzip", "bz2", "xz", "zstd", "brotli"):
        levels = estimator_class(name).library.levels
        found += [f"{name}:{level}" for level in levels]
    found += [f"{head}@{layout}" for head in ("zstd:3", "zstd:9", "xz:6") for layout in LAYOUTS]
    return list(dict.fromkeys(str(get_estimator(spec)) for spec in found))


def weights(side, dtype):
    """Heavy-tailed rows of different scale, and some columns of outliers."""
    random = np.random.default_rng(side)
    matrix = random.standard_t(8, (side, side)) * random.lognormal(-4, 0.3, (side, 1))
    matrix[:, :: max(1, side // 8)] *= 4
    return matrix.astype(DTYPES[dtype])


MATRICES = {(side, dtype): weights(side, dtype) for side in SIDES for dtype in DTYPES}


def best(work, runs):
    """CPU seconds of the best run, of two where it takes long."""
    least = math.inf
    for number in range(runs):
        began = time.process_time()
        work()
        least = min(least, time.process_time() - began)
        if number and least > ENOUGH:
            break
    return least


def curve(make):
    """Points of size and seconds; ``make(side)`` gives the work, the first of which is not timed,
    for it compiles."""
    points = []
    for side in SIDES:
        try:
            work = make(side)
            if not points:
                work()
            seconds = best(work, 9 if side < 100 else 3)
        except NotApplicableError:
            continue
        points.append([side * side, float(f"{seconds:.4g}")])
        if seconds - points[0][1] > ENOUGH:
            break
    return points


def estimator_curves(spec):
    estimator, curves = get_estimator(spec), {}
    for quantizer, dtype in SYMBOLS:
        coded = {}
        for side in SIDES:
            tensor = array_tensor("w", MATRICES[side, dtype])
            coded[side] = next(iter(get_quantizer(quantizer).fit(tensor).symbols(tensor)))
        alphabet = get_quantizer(quantizer).alphabet(DTYPES[dtype])

        def make(side, coded=coded, alphabet=alphabet):
            def work():
                accumulator = estimator.start((side, side), alphabet)
                accumulator.update(coded[side])
                accumulator.finish()

            return work

        if points := curve(make):
            curves[estimating_symbols(estimator, alphabet).form] = points
    return curves


def tensor_curves(work_of, form_of):
    """Curves by form, of work on a tensor."""
    curves = {}
    for dtype in DTYPES:

        def make(side, dtype=dtype):
            tensor = array_tensor("w", MATRICES[side, dtype])
            return lambda: work_of(tensor)

        curves[form_of(DTYPES[dtype])] = curve(make)
    return curves


def quantizer_curves(spec):
    quantizer = get_quantizer(spec)
    return tensor_curves(
        lambda tensor: [None for _ in quantizer.fit(tensor).symbols(tensor)],
        lambda dtype: coding(quantizer, dtype).form,
    )


def null_curves(name):
    null, native = get_null(_NULLS.get(name, name)), get_quantizer("native")
    return tensor_curves(
        lambda tensor: [None for _ in null.draw(tensor, 0, 0).coded(native).chunks], weight_form
    )


def byte_curves(work):
    """Curve of work on so many bytes of a file that lies in the page cache."""
    points = []
    with tempfile.TemporaryDirectory() as folder:
        path, size = Path(folder) / "bytes", 1 << 26
        path.write_bytes(np.random.default_rng(0).bytes(size))
        for part in (1 << 12, 1 << 20, size):
            points.append([part, float(f"{best(lambda part=part: work(path, part), 5):.4g}")])
    return {"": points}


def jobs():
    """(kind, spec, function that measures its curves) of everything."""
    yield "reading", "", lambda: byte_curves(lambda path, size: read_at(path, 0, size))
    yield "hashing", "", lambda: byte_curves(hashed)
    for spec in QUANTIZERS:
        yield "coding", spec, lambda spec=spec: quantizer_curves(spec)
    for name in NULLS.names():
        if name != "reference":
            yield "drawing", name, lambda name=name: null_curves(name)
    for spec in specs():
        yield "estimating", spec, lambda spec=spec: estimator_curves(spec)


def hashed(path, size):
    blake3.blake3(read_at(path, 0, size)).digest()


def scaled(curves, factor):
    return {
        form: [[size, float(f"{seconds * factor:.4g}")] for size, seconds in points]
        for form, points in curves.items()
    }


def with_far(curves, before):
    """Curves with the points of large sizes that were in the table before."""
    far = {form: [p for p in points if p[0] > SIDES[-1] ** 2] for form, points in before.items()}
    return {form: points + far.get(form, []) for form, points in curves.items()}


def write(table):
    """One line a spec, so that a change shows."""
    lines = [f'"workload": {table["workload"]}']
    for kind in ("reading", "hashing", "coding", "drawing", "estimating"):
        rows = [f"  {json.dumps(s)}: {json.dumps(c)}" for s, c in table.get(kind, {}).items()]
        lines.append(f'"{kind}": {{\n' + ",\n".join(rows) + "\n}")
    TABLE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main():
    chosen = sys.argv[1:]
    before = json.loads(TABLE.read_text())
    table = before if chosen else {}
    fastest = workload_seconds()
    scale = table["workload"] / fastest if chosen else 1.0  # to the machine of all the others
    for kind, spec, measure in jobs():
        if chosen and not {spec, kind} & set(chosen):
            continue
        try:
            found = measure()
        except KolmoError as error:  # a package that is not there
            print(f"{kind} {spec}: {error}")
            continue
        if found:
            known = before.get(kind, {}).get(spec, {})
            table.setdefault(kind, {})[spec] = with_far(scaled(found, scale), known)
            print(kind, spec, {form: points[-1] for form, points in found.items()}, flush=True)
        fastest = min(fastest, workload_seconds())
        if not chosen:
            table["workload"] = float(f"{fastest:.4g}")
        write(table)


if __name__ == "__main__":
    main()
