"""The command: ``python -m tests.fuzz``."""

import argparse
import os
import sys

from tests.fuzz import __doc__ as about
from tests.fuzz.kinds import chosen
from tests.fuzz.minimal import keep
from tests.fuzz.running import run_all

COLUMNS = ("fuzzer", "inputs", "refused", "read", "faults", "kinds", "seconds")


def row(name, *numbers):
    """A line of the table."""
    return f"{name:40}" + "".join(f"{number:>10}" for number in numbers)


def row_of(name, outcome):
    """The line of an outcome."""
    counts = (outcome.inputs, *(outcome.counts[what] for what in ("refused", "read", "fault")))
    figures = [f"{count:,}" for count in (*counts, len(outcome.faults))]
    return row(name, *figures, f"{outcome.seconds:.0f}")


def tell(outcomes, kept):
    """Print the table, and each kind of fault with the seeds that show it."""
    print(row(*COLUMNS))
    for name, outcome in outcomes.items():
        print(row_of(name, outcome))
    for name, outcome in outcomes.items():
        for kind, results in outcome.faults.items():
            seeds = ", ".join(str(result.seed) for result in results[:5])
            print(f"\n{name}: {kind}: {len(results):,} times, seeds {seeds}")
            print(f"kept in {keep(name, results[0], kept)}" if kept else results[0].text)


def main():
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("formats", nargs="*", help="beginnings of the fuzzers' names; all, if none is given")
    add("--first", type=int, default=0, help="the first seed")
    add("--count", type=int, default=1000, help="inputs of each fuzzer")
    add("--minutes", type=float, help="for so long, instead of a count")
    add("--jobs", type=int, default=os.cpu_count(), help="processes; as many as processors")
    add("--keep", metavar="FOLDER", help="put an input of each kind of fault there, shrunk")
    given = parser.parse_args()

    def told(name, outcome):
        print(row_of(name, outcome), file=sys.stderr, flush=True)

    outcomes = run_all(
        chosen(given.formats), given.first, given.count, given.minutes, given.jobs, told
    )
    tell(outcomes, given.keep)
    return any(outcome.faults for outcome in outcomes.values())


if __name__ == "__main__":
    sys.exit(main())
