"""The same bytes whatever the machine is told: threads, hash seeds, locales, other arithmetic.

``python -m tests.test_determinism`` prints what the runs of other surroundings are compared by.
"""

import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

SURROUNDINGS = {
    "one thread": {"KOLMO_TEST_THREADS": "1"},
    "four threads": {"KOLMO_TEST_THREADS": "4"},
    "hash seed 0": {"PYTHONHASHSEED": "0"},
    "hash seed 1": {"PYTHONHASHSEED": "1"},
    "German": {"LC_ALL": "de_DE.UTF-8", "LANG": "de_DE.UTF-8", "TZ": "Asia/Tokyo"},
    "Turkish": {"LC_ALL": "tr_TR.UTF-8", "TZ": "America/St_Johns"},
    "plain C": {"LC_ALL": "C", "LANG": "C"},
    "an old processor's BLAS": {"OPENBLAS_CORETYPE": "Prescott", "OMP_NUM_THREADS": "1"},
    "several threads of OpenMP": {"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "3"},
    "no vectors in numpy": {"NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512_SKX"},
}
COMPILED_ANEW = {
    "any processor": {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
}
"""Where all loops are compiled anew, which takes a minute."""


def facts():
    """Digests of a container of each preset, a mosaic, and a report of bounds and nulls."""
    import kolmo
    from momos.config import SampledMosaic
    from momos.sampled.projection import project_tensors

    threads = int(os.environ.get("KOLMO_TEST_THREADS", "2"))
    weights, found = weights_of_several_kinds(), {}
    with tempfile.TemporaryDirectory() as folder:
        for preset, quantizer in (("default", "native"), ("fast", "symmetric:6")):
            path = Path(folder) / "x.kmo"
            kolmo.pack(weights, path, preset=preset, quantizer=quantizer, threads=threads)
            found[f"{preset} {quantizer}"] = _digest(path.read_bytes())
    floats = {name: array.astype(np.float32) for name, array in weights.items()}
    config = SampledMosaic(block_size=4, motifs=9)
    mosaic, _ = project_tensors(floats, config, np.random.default_rng(1))
    found["mosaic"] = _digest(mosaic.encode())
    found["report"] = report(weights, threads=threads)
    return found


def weights_of_several_kinds():
    random = np.random.default_rng(0)
    return {
        "w": random.normal(size=(40, 30)).astype(np.float32),
        "v": random.normal(size=(30, 20)),
        "tiles": np.resize(np.float32([1, -2, 3, 0.5]), (24, 12)),
    }


def report(weights, **options):
    """A digest of all figures of bounds, estimates and nulls."""
    import kolmo

    report = kolmo.analyze(
        weights,
        quantizers=["native", "symmetric:4", "nmse:.01", "codebook:9", "affine:5,clip=99"],
        estimators=["kt", "context", "gaussian", "bdm,ndim=2", "zstd:3", "lz78", "entropy"],
        nulls=["shuffled", "gaussian"],
        draws=3,
        **options,
    )
    table = report.table.drop(columns="seconds")
    table["p_t"] = table["p_t"].round(12)  # by a quadrature, whose last digits are a library's
    return _digest(table.to_json(orient="split", double_precision=15).encode())


def _digest(data):
    return hashlib.sha256(data).hexdigest()


def facts_in(surroundings):
    environment = {**os.environ, "KOLMO_STORE": "off", **surroundings}
    command = [sys.executable, "-m", "tests.test_determinism"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# --- without a compiler ---------------------------------------------------------------------


def coded():
    """What each code makes of few symbols of all sizes, the largest of their alphabet first."""
    from kolmo.codes.base import code_numbers, get_code
    from kolmo.errors import NotApplicableError

    found = {}
    for alphabet, symbols in _few_symbols():
        for code in map(get_code, code_numbers()):
            if code.takes([symbols.shape], alphabet):
                try:
                    data = code.encode([symbols], alphabet)
                except NotApplicableError:
                    continue
                (decoded,) = code.decode(data, [symbols.shape], alphabet)
                assert decoded.tobytes() == symbols.tobytes()
                found[f"{code.name} of {alphabet}"] = _digest(data)
    return found


def _few_symbols():
    from kolmo.symbols import Alphabet

    for size, format in ((2, ""), (256, ""), (2**64, ""), (2**64, "float64"), (2**16, "bfloat16")):
        alphabet = Alphabet(size, format)
        drawn = np.random.default_rng(0).integers(0, size, (3, 4), np.uint64)
        drawn[0] = size - 1
        yield alphabet, drawn.astype(alphabet.container)


def test_codes_are_the_same_without_a_compiler():
    """Python's integers have no end, and numpy's warn where those of a machine turn over."""
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-W", "error", "-m", "tests.test_determinism", "coded"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == coded()


# --- in other surroundings ------------------------------------------------------------------


@pytest.fixture(scope="module")
def here():
    return facts()


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SURROUNDINGS, *COMPILED_ANEW])
def test_surroundings_change_no_byte(here, name):
    assert facts_in({**SURROUNDINGS, **COMPILED_ANEW}[name]) == here


@pytest.mark.slow
def test_threads_seeds_and_locales_change_no_byte(here):
    together = ("four threads", "hash seed 1", "Turkish", "several threads of OpenMP")
    assert facts_in({k: v for name in together for k, v in SURROUNDINGS[name].items()}) == here


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_however_they_begin_change_no_byte(here, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        assert report(weights_of_several_kinds(), executor=executor) == here["report"]


@pytest.mark.slow
def test_threads_change_no_byte_of_what_is_simplified_and_trained(tmp_path):
    one, two = (made_on(threads, tmp_path / str(threads)) for threads in (1, 2))
    assert one == two


def made_on(threads, folder):
    """Digests of the files of a curve, a simplification and two epochs of training."""
    import torch

    import kolmo
    from momos.config import LearnedMosaic, SampledMosaic
    from momos.lab.config import TrainConfig
    from momos.lab.training import train

    weights, before = weights_of_several_kinds(), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        kolmo.curve(weights, steps=[0.3, 1.0], folder=folder / "curve", threads=threads)
        small = folder / "small.kmo"
        kolmo.simplify(weights, small, distortion=0.1, threads=threads)
        for name, mosaic in (("s", SampledMosaic(motifs=9)), ("l", LearnedMosaic(rate=1.0))):
            train(TrainConfig(epochs=2, hidden=16, mosaic=mosaic), folder / name)
    finally:
        torch.set_num_threads(before)
    kinds = (".kmo", ".mosaic", ".safetensors")
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in kinds]
    assert len(files) > 10
    return {str(path.relative_to(folder)): _digest(path.read_bytes()) for path in files}


if __name__ == "__main__":
    print(json.dumps(coded() if "coded" in sys.argv else facts()))
