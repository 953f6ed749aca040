"""What a study found, in sentences, each with its figures and true of whatever these are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from kolmo.pvalues import draws_needed, is_significant
from kolmo.report.columns import FUNCTION
from momos.lab.arms import INIT, LEVELS, StudyConfig
from momos.lab.function_bits import TOLERANCE
from momos.lab.results import arms
from momos.lab.story import ends, story

_HARDLY = 5e-4  # a change of bits below this share is called none
_EQUAL = 0.01  # test accuracies this close to the best count as no worse
_NONE, _LITTLE = 5e-5, 1e-3  # a part below these shares is none, and hardly any
_GRID = 0.3  # bits of trailing zeros that training must remove to be the reason of a rise
_GREW = 1.1  # how far the largest weight must grow to be the reason of a fall
_AT_MOST = 1.5  # bits that a fall may have for each doubling of the largest weight, to be its


def findings(trajectory: pd.DataFrame, table: pd.DataFrame, config: StudyConfig) -> list[str]:
    """What was found, most important first.

    Parameters
    ----------
    trajectory, table : pandas.DataFrame
        As those of `momos.StudyResult`.
    """
    seen = ends(story(trajectory, config.quantizer))
    native = ends(story(trajectory, "native"))
    return [
        *_training(seen, config.quantizer),
        *_beginning(seen),
        *(_levels(ends(story(trajectory, LEVELS)), seen) if config.quantizer != LEVELS else ()),
        *_full_precision(native),
        *_signs(trajectory),
        *_function(table),
        *_accuracy(table),
    ]


def resolution(quantizer: str) -> str:
    """Through what the weights are seen, in words.

    >>> resolution("symmetric:8"), resolution("nmse:0.001")
    ('at 8-bit resolution', 'at a relative error of 0.001')
    """
    name, _, rest = quantizer.partition(":")
    value = rest.split(",")[0]
    if name == "symmetric" and value.isdigit():
        return f"at {value}-bit resolution"
    known = {"native": "at full precision", "sign": "of their signs"}
    return (
        f"at a relative error of {value}"
        if name == "nmse"
        else known.get(name, f"seen through {quantizer}")
    )


# --- training, arm by arm ---------------------------------------------------------------------


def _training(seen: pd.DataFrame, quantizer: str) -> Iterator[str]:
    for arm, runs in seen.groupby("arm", sort=False):
        if arm == INIT:
            continue
        told = [_change(runs, quantizer), _parts(runs), _arrangement(runs), _scale(runs, quantizer)]
        yield f"{arm}: " + " ".join(sentence for sentence in told if sentence)


def _change(runs: pd.DataFrame, quantizer: str) -> str:
    first, last = (runs[f"{end}_bits_per_weight"] for end in ("first", "last"))
    shares = last / first - 1
    where = f"bits {resolution(quantizer)}"
    figures = f"{first.mean():.3f} → {last.mean():.3f} bits per weight"
    if abs(shares.mean()) < _HARDLY:
        return f"{where} hardly change in training ({figures})."
    verb = "fall" if shares.mean() < 0 else "rise"
    return f"{where} {verb} by {_spread(100 * shares.abs())} % in training ({figures})."


def _parts(runs: pd.DataFrame) -> str:
    """How much of the change is that of the values, and how much that of their order."""
    first = runs["first_bits_per_weight"].mean()
    saved, values, order = (runs[name].mean() for name in ("saved", "by_values", "by_order"))
    if abs(saved) < _HARDLY * first and max(abs(values), abs(order)) < _HARDLY * first:
        return ""
    if abs(saved) >= _HARDLY * first and min(values / saved, order / saved) >= 0:
        change = "fall" if saved > 0 else "rise"
        if order / saved < _LITTLE:
            return f"{_all(order / saved)} of the {change} is the distribution of the values."
        if values / saved < _LITTLE:
            return f"{_all(values / saved)} of the {change} is their arrangement."
        return (
            f"{_share(values / saved)} of the {change} is the distribution of the values, "
            f"{_share(order / saved)} their arrangement."
        )
    way = "less" if values > 0 else "more"
    other = "less" if order > 0 else "more"
    return (
        f"Their distribution alone makes {_plain(100 * abs(values) / first)} % {way}, "
        f"their arrangement {_plain(100 * abs(order) / first)} % {other}."
    )


def _arrangement(runs: pd.DataFrame) -> str:
    """The test of the trained weights against their own shuffles, in each seed."""
    draws, p = int(runs["last_draws"].min()), runs["last_p"]
    leads = list(dict.fromkeys(lead for lead in runs["last_lead"] if lead))
    if not leads:
        return "No bound here can see an arrangement."
    saved = 100 * (1 - runs["last_to_shuffled"])
    longer = "" if {*leads} & {*runs["last_estimator"]} else ", not the shortest bound"
    count = f"{draws} shuffle{'s' * (draws > 1)}"
    against = f"{', '.join(leads)}{longer}; {count}"
    if draws < draws_needed():
        return (
            f"At the end they cost {_less(saved)} their shuffles ({against}), "
            f"which is no test: {count} cannot reach p ≤ .05, {draws_needed()} can."
        )
    sure = p.map(is_significant)
    found, worse = int((sure & (saved > 0)).sum()), int((sure & (saved < 0)).sum())
    if found:
        where = _of_seeds(found, len(runs))
        return (
            f"At the end their arrangement saves {_spread(saved[sure & (saved > 0)])} % "
            f"({against}; p ≤ {_p(p[sure & (saved > 0)].max())}{where})."
        )
    if worse:
        return (
            f"At the end their arrangement costs more than chance, {_spread(-saved)} % "
            f"({against}; p ≤ {_p(p[sure].max())}{_of_seeds(worse, len(runs))})."
        )
    return f"No arrangement was found at the end ({against}; p ≥ {_p(p.min())})."


def _scale(runs: pd.DataFrame, quantizer: str) -> str:
    """Why a fall at a fixed number of levels may be none of complexity."""
    fell = runs["saved"].mean() > _HARDLY * runs["first_bits_per_weight"].mean()
    by_values = runs["by_values"].mean() > runs["by_order"].mean()
    first, last = (runs[f"{end}_peak"].mean() for end in ("first", "last"))
    grew = last > _GREW * first
    if not (quantizer.startswith("symmetric") and fell and by_values and grew):
        return ""
    if runs["saved"].mean() > _AT_MOST * np.log2(last / first):
        return ""  # of so much wider a range, fewer bits can be lost than were
    return (
        f"The levels are scaled by the largest weight of a tensor, which grows from {first:.1f} to "
        f"{last:.1f} standard deviations: most weights then share fewer levels."
    )


def _levels(fixed: pd.DataFrame, seen: pd.DataFrame) -> Iterator[str]:
    """What a fixed number of levels says where it says something else."""
    for arm, runs in fixed.groupby("arm", sort=False):
        reason, other = _scale(runs, LEVELS), seen[seen["arm"] == arm]
        if arm == INIT or not reason or other.empty:
            continue
        equal = other["last_bits_per_weight"] / other["first_bits_per_weight"] - 1
        if equal.mean() > -_HARDLY:
            yield (
                f"{arm}: {_change(runs, LEVELS)} {reason} That is of the levels: at equal errors "
                f"the bits do not fall."
            )


def _beginning(seen: pd.DataFrame) -> Iterator[str]:
    """Whether the initialization has an arrangement, once for all arms."""
    runs = seen.drop_duplicates("seed")
    if runs.empty:
        return
    draws, leads = int(runs["first_draws"].min()), [lead for lead in runs["first_lead"] if lead]
    if draws < draws_needed() or not leads:
        return
    sure = runs["first_p"].map(is_significant)
    least = _p(runs["first_p"].min())
    if sure.any():
        where = _of_seeds(int(sure.sum()), len(runs))
        yield f"The initial weights differ from their shuffles too (p = {least}{where})."
    else:
        yield f"The initial weights cost what their shuffles cost (p ≥ {least}, {draws} shuffles)."


# --- full precision, signs, accuracy ----------------------------------------------------------


def _full_precision(native: pd.DataFrame) -> Iterator[str]:
    """Why trained weights may cost more than random ones."""
    for arm, runs in native.groupby("arm", sort=False):
        first, last = (runs[f"{end}_bits_per_weight"].mean() for end in ("first", "last"))
        if arm == INIT or last < first * (1 + _HARDLY):
            continue
        before, after = (runs[f"{end}_zero_tail"].mean() for end in ("first", "last"))
        text = (
            f"At full precision the weights of {arm} cost more after training than before: "
            f"{first:.2f} → {last:.2f} bits per weight."
        )
        if before > after + _GRID:
            text += (
                f" Torch draws initial weights in steps of 2^-24 of their range, so that they "
                f"have few exponents and end on {before:.1f} zero bits on "
                f"average; training fills these ({after:.1f} are left, 1 is chance). It adds "
                f"digits, whatever it does to structure."
            )
        yield text


def _signs(trajectory: pd.DataFrame) -> Iterator[str]:
    """The figure of the paper: BDM of the signs over that of the initialization."""
    rows = trajectory[(trajectory["quantizer"] == "sign") & (trajectory["estimator"] == "bdm")]
    rows = rows[rows["null"] == "shuffled"]
    start = rows[rows["arm"] == INIT].set_index("seed")["bits"]
    told, saturated = [], False
    for arm, group in rows[rows["arm"] != INIT].groupby("arm", sort=False):
        last = group[group["epoch"] == group["epoch"].max()].set_index("seed")
        told.append(f"{arm} {_ratio(last['bits'] / start)} ({_beside(last, start)})")
        saturated |= bool(last["saturated"].any())
    if told:
        yield (
            "BDM of the signs, the figure of the paper, an estimate, in percent of the "
            f"initialization's: {', '.join(told)}."
            + (" It is saturated, and can hardly tell such networks apart." if saturated else "")
        )


def _beside(last: pd.DataFrame, start: pd.Series) -> str:
    """The same ratio of the shuffled signs, and the p-values if there are any."""
    text = f"shuffled {_ratio(last['null_bits'] / start)}"
    if (last["null_draws"] >= draws_needed()).all():
        text += f", p = {', '.join(_p(value) for value in last['p'])}"
    return text


def _ratio(shares: pd.Series) -> str:
    """The mean in percent, ± the standard deviation if there are several."""
    spread = f" ± {100 * shares.std(ddof=1):.2f}" if len(shares) > 1 else ""
    return f"{100 * shares.mean():.2f}{spread}"


def _function(table: pd.DataFrame) -> Iterator[str]:
    """What each arm takes to do what it does."""
    rows = table[table["estimator"] == FUNCTION]
    told = [
        f"{arm} {_spread(group['bits_per_weight'])}"
        for arm, group in rows.groupby("arm", sort=False)
    ]
    if told:
        yield (
            f"Function bits, those of the shortest file found that keeps the validation loss "
            f"within {TOLERANCE}, a bound, per weight: {', '.join(told)}."
        )


def _accuracy(table: pd.DataFrame) -> Iterator[str]:
    """The smallest among those that are as good as the best."""
    rows = arms(table)
    rows = rows[rows["arm"] != INIT]
    if len(rows) < 2:
        return
    best = rows.sort_values("test_accuracy_mean").iloc[-1]
    good = rows[rows["test_accuracy_mean"] >= best["test_accuracy_mean"] - _EQUAL]
    small = good.sort_values("bound_mean").iloc[0]
    text = (
        f"Best test accuracy: {best['test_accuracy_mean']:.3f}, {best['arm']}, at "
        f"{best['bound_mean']:.2f} bits per weight"
    )
    if small["arm"] != best["arm"]:
        text += (
            f"; within {_EQUAL:.2f} of it {small['arm']} takes least, "
            f"{small['bound_mean']:.2f} ({small['test_accuracy_mean']:.3f})"
        )
    yield text + "."


# --- figures ----------------------------------------------------------------------------------


def _spread(values: pd.Series) -> str:
    """The mean, ± the standard deviation if there are several: as many digits as it has."""
    mean, deviation = float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else 0.0
    if not deviation > 0:
        return _plain(mean)
    digits = _digits(deviation)
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}"


def _all(rest: float) -> str:
    return "All" if rest < _NONE else "Nearly all"


def _less(saved: pd.Series) -> str:
    """How much less than something, of which percents are saved; or more, or as much."""
    if abs(saved.mean()) < 5e-4:
        return "as much as"
    return f"{_spread(saved.abs())} % {'less' if saved.mean() > 0 else 'more'} than"


def _plain(value: float) -> str:
    return f"{value:.{_digits(value)}f}"


def _digits(size: float) -> int:
    """Decimals that show two digits of a number below 1, one of one below 10."""
    return 1 if not abs(size) > 0 else int(np.clip(1 - np.floor(np.log10(abs(size))), 0, 4))


def _share(part: float) -> str:
    """A part of a whole in percent; never 0 or 100 of what is only near them.

    >>> _share(0.5), _share(0.9996), _share(1.0), _share(0.0002)
    ('50 %', '99.96 %', '100 %', '0.02 %')
    """
    percent = 100 * part
    near = min(percent, 100 - percent)
    if near < 5e-3:
        return f"{round(percent)} %"
    return f"{percent:.{0 if near >= 1 else 1 if near >= 0.1 else 2}f} %"


def _p(value: float) -> str:
    return f"{value:.2g}".removeprefix("0")


def _of_seeds(count: int, seeds: int) -> str:
    return f" in {count} of {seeds} seeds" if seeds > 1 else ""
