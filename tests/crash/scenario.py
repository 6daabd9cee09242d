"""Crash points of a program: generated from what it does to its files, tried one by one, and counted.

A scenario is a program with a state folder, which ends by itself. For each point it starts with the same folder, meets a crash or a
fault there, and is started again on what that left.
"""

import errno
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from tests.crash.injection import Ended, Injection, run
from tests.crash.operations import Kind
from tests.crash.powercut import power_cuts, read_tree, write_tree

T = TypeVar("T")
FULL, BROKEN, READ_ONLY = errno.ENOSPC, errno.EIO, errno.EROFS


def nothing(_: Path) -> None:
    """No preparation, no demand."""


def one_clear_line(ended: Ended) -> None:
    """Of a program that met a fault: it goes on in spite of it, or ends with status 1 or 2 and one line that says why."""
    lines = ended.stderr.strip().splitlines()
    assert "Traceback" not in ended.stderr, ended.stderr
    assert ended.status in {0, 1, 2}, f"status {ended.status}: {ended.stderr}"
    assert ended.status == 0 or len(lines) == 1, f"status {ended.status}, {len(lines)} lines: {ended.stderr}"


@dataclass(frozen=True)
class Scenario:
    """A program and what must hold.

    command: what runs, given the state folder, which it does not leave before it is done; started again, it must end with status 0.
    prepare: fills the empty state folder. left: what must hold of the folder whatever has happened, looked at before the program is
    started again; done: what must hold once the second run has ended. Both raise AssertionError. refused: what must hold of a run
    that met a fault; where that ends with status 0, so must `done`.
    """

    name: str
    command: Callable[[Path], Sequence[str | Path]]
    prepare: Callable[[Path], None] = nothing
    left: Callable[[Path], None] = nothing
    done: Callable[[Path], None] = nothing
    refused: Callable[[Ended], None] = one_clear_line
    environment: Mapping[str, str] = field(default_factory=dict)


class Point(NamedTuple):
    """A point that was tried. violation: what did not hold there, "" where all did."""

    where: str
    violation: str


class Row(NamedTuple):
    """Of one scenario and one kind of points."""

    scenario: str
    how: str
    points: int
    violations: tuple[Point, ...]


How = Literal["kill", "tear", "power cut", "disk full", "one write fails", "read-only", "broken disk"]
FAULTS: Mapping[How, Callable[[int], Injection]] = {
    "disk full": lambda at: Injection(at, FULL),
    "one write fails": lambda at: Injection(at, BROKEN, last=at),
    "read-only": lambda at: Injection(at, READ_ONLY),
    "broken disk": lambda at: Injection(at, BROKEN),
}
EVERY: tuple[How, ...] = ("kill", "tear", "power cut", *FAULTS)


def table(scenario: Scenario, hows: Sequence[How] = EVERY, told: Callable[[str, Point], None] = lambda *_: None) -> Iterator[Row]:
    """Try every point of each kind. told: called with the kind and each point as it has been tried."""
    for how in hows:
        points = []
        for point in explore(scenario, how):
            points.append(point)
            told(how, point)
        yield Row(scenario.name, how, len(points), tuple(point for point in points if point.violation))


def explore(scenario: Scenario, how: How) -> Iterator[Point]:
    """Try every point of a kind, one after the other. AssertionError where the scenario fails without any crash."""
    if how == "power cut":
        return _power_cuts(scenario)
    if how in FAULTS:
        return _faults(scenario, FAULTS[how])
    return _kills(scenario) if how == "kill" else _tears(scenario)


def record(scenario: Scenario, folder: Path) -> Ended:
    """Run it once, in an empty folder, without a crash; all must hold."""
    scenario.prepare(folder)
    ended = run(scenario.command(folder), folder, environment=scenario.environment)
    assert ended.status == 0, f"{scenario.name}: status {ended.status} without a crash: {ended.stderr}"
    scenario.left(folder)
    scenario.done(folder)
    return ended


def _kills(scenario: Scenario) -> Iterator[Point]:
    """Before every operation, until a run gets through: their number is the run's own affair where it has threads."""
    for at in count(1):
        with _folder() as folder:
            if not (point := _kill(scenario, folder, Injection(at, "kill"))):
                return
            yield point


def _tears(scenario: Scenario) -> Iterator[Point]:
    with _folder() as folder:
        operations = record(scenario, folder).done
    for operation in operations:
        if operation.kind is Kind.WRITE and len(operation.data) > 1:
            with _folder() as folder:
                if point := _kill(scenario, folder, Injection(operation.number, "tear")):
                    yield point


def _kill(scenario: Scenario, folder: Path, injection: Injection) -> Point | None:
    """None where the run got through before."""
    scenario.prepare(folder)
    ended = run(scenario.command(folder), folder, injection, environment=scenario.environment)
    if ended.tried < injection.at:
        return None
    assert ended.killed, f"{scenario.name}, {injection}: status {ended.status}: {ended.stderr}"
    return Point(_where(injection, ended), _violation(scenario, folder))


def _power_cuts(scenario: Scenario) -> Iterator[Point]:
    with _folder() as folder:
        scenario.prepare(folder)
        before = read_tree(folder)
    with _folder() as folder:
        operations = record(scenario, folder).done
    for cut in power_cuts(before, operations):
        with _folder() as folder:
            write_tree(cut.tree, folder)
            what = f" ({operations[cut.done - 1]})" if cut.done else ""
            yield Point(f"{cut}{what}", _violation(scenario, folder))


def _faults(scenario: Scenario, fault: Callable[[int], Injection]) -> Iterator[Point]:
    for at in count(1):
        injection = fault(at)
        with _folder() as folder:
            scenario.prepare(folder)
            ended = run(scenario.command(folder), folder, injection, environment=scenario.environment)
            if ended.tried < at:
                return
            violation = _failure(scenario.refused, ended) or (_failure(scenario.done, folder) if ended.status == 0 else "")
            yield Point(_where(injection, ended), violation or _violation(scenario, folder))


def _violation(scenario: Scenario, folder: Path) -> str:
    """What does not hold of what a crash left, and after a start on it."""
    return _failure(partial(_start_again, scenario), folder)


def _start_again(scenario: Scenario, folder: Path) -> None:
    scenario.left(folder)
    ended = run(scenario.command(folder), folder, environment=scenario.environment)
    assert ended.status == 0, f"started again, it ends with status {ended.status}: {ended.stderr.strip()}"
    scenario.left(folder)
    scenario.done(folder)


def _failure(demand: Callable[[T], None], of: T) -> str:
    try:
        demand(of)
    except AssertionError as error:
        return str(error)
    return ""


def _where(injection: Injection, ended: Ended) -> str:
    """The point, and what was done just before it, without which its number says nothing."""
    before = [operation for operation in ended.done if operation.number < injection.at]
    return f"{injection}{f', after: {before[-1]}' if before else ''}"


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="crash-") as outside:
        folder = Path(outside) / "state"
        folder.mkdir()
        yield folder
