"""False alarms and power of the test of structure, on weights whose structure is known.

``python -m tests.benchmarks.verdicts [TRIALS]`` prints a table: of each family the share of trials
with the verdict *structure* beyond the value distribution (``order``), and beyond the scales of
rows and columns (``arrangement``). Where there is none, a share of up to 2.5 % is chance.
"""

import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import numpy as np

import kolmo

SIZE = (48, 64)

Draw = Callable[[np.random.Generator], np.ndarray]


def outer(random: np.random.Generator) -> np.ndarray:
    """Scales of rows times those of columns."""
    rows, columns = (
        np.exp(0.7 * random.normal(size=size)) for size in ((SIZE[0], 1), (1, SIZE[1]))
    )
    return rows * columns


STRUCTURELESS: dict[str, Draw] = {
    "normal": lambda r: r.normal(size=SIZE),
    "uniform": lambda r: r.uniform(-1, 1, SIZE),
    "Student t, 2 degrees": lambda r: r.standard_t(2, SIZE),
    "Cauchy": lambda r: r.standard_cauchy(SIZE),
    "half zeros": lambda r: r.normal(size=SIZE) * r.integers(0, 2, SIZE),
    "three values": lambda r: r.integers(-1, 2, SIZE) + 0.0,
    "mixture of two scales": lambda r: r.normal(size=SIZE) * np.where(r.random(SIZE) < 0.2, 5, 1),
}

SCALED: dict[str, Draw] = {
    "rows, normal": lambda r: r.normal(size=SIZE) * np.exp(0.7 * r.normal(size=(SIZE[0], 1))),
    "columns, normal": lambda r: r.normal(size=SIZE) * np.exp(0.7 * r.normal(size=(1, SIZE[1]))),
    "rows × columns, normal": lambda r: r.normal(size=SIZE) * outer(r),
    "rows × columns, Student t": lambda r: r.standard_t(4, SIZE) * outer(r),
    "rows × columns, uniform": lambda r: r.uniform(-1, 1, SIZE) * outer(r),
    "rows × columns, half zeros": lambda r: r.normal(size=SIZE) * outer(r) * r.integers(0, 2, SIZE),
}

STRUCTURED: dict[str, Draw] = {
    "rank 2 in as much noise": lambda r: (
        r.normal(size=(SIZE[0], 2)) @ r.normal(size=(2, SIZE[1])) + 1.4 * r.normal(size=SIZE)
    ),
    "smooth rows": lambda r: np.cumsum(r.normal(size=SIZE), axis=1),
    "a tenth of rows twice": lambda r: r.normal(size=SIZE)[np.r_[0:43, 0:5]],
    "motifs of 4": lambda r: r.normal(size=(16, 4))[r.integers(0, 16, 768)].reshape(SIZE),
}

KINDS = {"no structure": STRUCTURELESS, "scales alone": SCALED, "structure": STRUCTURED}


def trial(kind: str, family: str, number: int) -> tuple[str, str]:
    """The verdicts on one matrix: order, arrangement (none where shuffles are no longer)."""
    random = np.random.default_rng((number, len(family), *family.encode()))
    weights = KINDS[kind][family](random).astype(np.float32)
    report = kolmo.analyze(
        {"w": weights}, quantizers=["sign"], estimators=["kt"], scope="model", nulls="auto",
        seed=number, threads=1, store=None, progress=False,
    )  # fmt: skip
    words = report.verdicts.set_index("question")["verdict"]
    return words["order"], words.get("arrangement", "none")


def main(trials: int) -> None:
    """Print the table."""
    print("| weights | | order | arrangement |\n|---|---|---|---|")
    with ProcessPoolExecutor(2) as pool:
        for kind, families in KINDS.items():
            for family in families:
                found = list(
                    pool.map(trial, [kind] * trials, [family] * trials, range(trials), chunksize=5)
                )
                order, arrangement = (
                    sum(each[place] == "structure" for each in found) for place in (0, 1)
                )
                shares = " | ".join(f"{100 * n / trials:.1f} %" for n in (order, arrangement))
                print(f"| {family} | {kind} | {shares} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
