"""Every crash point of every part, and a table of them: `python -m tests.crash [--part PART]... [--kind KIND]...`.

Status 1 where something does not hold.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.crash.scenario import EVERY, Point, Row, table
from tests.crash.scenarios import SCENARIOS


def main(arguments: Sequence[str]) -> int:
    """See above."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description="Try every crash point of every part.")
    parser.add_argument("--part", action="append", choices=SCENARIOS, help="all, unless some are named")
    parser.add_argument("--kind", action="append", choices=EVERY, help="all, unless some are named")
    args = parser.parse_args(arguments)
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])  # what is run finds these tests
    rows: list[Row] = []
    _print(f"{'part':12} {'kind':16} {'points':>7} {'violations':>10}")
    for name in args.part or SCENARIOS:
        with SCENARIOS[name]() as scenario:
            for row in table(scenario, args.kind or EVERY, _Shown(name)):
                rows.append(row)
                _print(f"{row.scenario:12} {row.how:16} {row.points:7} {len(row.violations):10}")
    violations = sum(len(row.violations) for row in rows)
    _print(f"{'all':29} {sum(row.points for row in rows):7} {violations:10}")
    return int(violations > 0)


class _Shown:
    """Says which point was tried, at a terminal; and everywhere what did not hold."""

    def __init__(self, part: str) -> None:
        self._part = part
        self._tried = 0

    def __call__(self, how: str, point: Point) -> None:
        self._tried += 1
        if point.violation:
            sys.stderr.write(f"{self._part}, {how}: {point.where}: {point.violation}\n")
        elif sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K{self._part}, {how}: {self._tried} points\r")
        sys.stderr.flush()


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
