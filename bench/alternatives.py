"""What one would write instead of Joinback, in an afternoon: each on the same made-up stream, in the same run.

    python bench/alternatives.py             the real run; writes docs/explanation/alternatives.* between its markers
    python bench/alternatives.py --quick     a check that it works; prints the tables and writes nothing

Each contender is a file that its user would write. In each round all run one after the other, in alternating order, on
a Valkey of their own, which keeps nothing on disk, and in a new database of one PostgreSQL, which syncs each commit.
One whose package is not installed is left out, aloud. Needs pip install -e '.[dev,bench]'.
"""

import argparse
import sys

from alternatives_contenders import CONTENDERS, HERE, Contender
from alternatives_run import killed_job, killed_service, rights, run
from alternatives_table import Results, costs, rows

PAGE = HERE.parent / "docs" / "explanation" / "alternatives.md"
BEGIN, END = "<!-- bench/alternatives.py writes from here -->", "<!-- to here -->"
ROUNDS = 5
KEYS, QUICK_KEYS = 20_000, 200
KILLED_KEYS = 2_000
KILLED_CALLS, QUICK_KILLED_CALLS = 1_000, 100


def measure(contenders: list[Contender], rounds: int, keys: int, killed_keys: int, calls: int) -> Results:
    results = Results(keys, calls, {one.name: one.lines() for one in contenders})
    for number in range(rounds):
        for one in contenders if number % 2 == 0 else reversed(contenders):
            say(f"round {number + 1} of {rounds}: {one.name}")
            results.add(one.name, run(one, keys), killed_service(one, calls))
    for one in contenders:
        if one.job is not None:
            say(f"killed: {one.name}")
            whole = results.rounds[one.name][0] if killed_keys == keys else run(one, killed_keys)
            results.killed[one.name] = killed_job(one, killed_keys, rights(whole))
    return results


def present() -> list[Contender]:
    for one in CONTENDERS.values():
        if not one.is_installed():
            say(f"left out: {one.name}, since {one.package} is not installed")
    return [one for one in CONTENDERS.values() if one.is_installed()]


def write(text: str) -> None:
    """Between the markers of the page."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}")


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round; prints, and writes nothing")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--keys", type=int, default=KEYS, help="predictions; a multiple of 100")
    options = parser.parse_args()
    if options.quick:
        results = measure(present(), 1, QUICK_KEYS, QUICK_KEYS, QUICK_KILLED_CALLS)
    else:
        results = measure(present(), options.rounds, options.keys, KILLED_KEYS, KILLED_CALLS)
    from client import machine

    text = (
        f"{machine(1 if options.quick else options.rounds)}; {results.events:,} events of {results.keys:,} keys\n\n"
        f"{rows(results)}\n\n{costs(results)}"
    )
    print(text)
    if options.quick:
        return
    write(text)
    try:
        from alternatives_plot import plot
    except ModuleNotFoundError as error:
        say(f"no plot, since {error.name} is not installed")
    else:
        plot(results, PAGE.with_suffix(".svg"))


if __name__ == "__main__":
    main()
