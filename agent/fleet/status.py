"""edge-fleet status: what each device has, and how its deployment goes."""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol

import msgspec

from agent.backoff import Backoff
from agent.errors import BrokerError, UsageError
from agent.fleet.broker import Access, Desk, access_of, add_broker_options
from agent.fleet.devices import collect
from agent.fleet.rollout import Row, deployments, missing, rows, summary
from agent.fleet.values import add_device_options, seconds, shown

if TYPE_CHECKING:
    from argparse import _SubParsersAction

LOOK_S = 0.25  # between two looks at what has come
EXAMPLES = """examples:
  edge-fleet status --mqtt broker.example
  edge-fleet status --deployment people-1.3.0-20261125T003012-3f2a --watch
  edge-fleet status --deployment people-1.3.0-20261125T003012-3f2a --wait 2h && echo "all have it"
  edge-fleet status --select site=lyon --json

exit status: 0 fine; with --wait: 0 all committed, 1 some failed, or were not ready in time"""


class View(Protocol):
    """Where rows are shown while they change."""

    def show(self, found: Sequence[Row], trouble: str) -> None:
        """Show all rows. trouble: what is wrong with the connection, empty where nothing is."""


def add_parser(verbs: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "status",
        help="what each device has, and how its deployment goes",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_device_options(parser, required=False)
    parser.add_argument("--deployment", metavar="ID", help="only what this one is for")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--watch", action="store_true", help="go on showing it; on a terminal as a live table, else a line a change")
    how.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--wait", type=seconds, metavar="TIME", help="until the deployment has ended on every device")
    add_broker_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show the devices; with --wait, 1 where not all have committed."""
    if args.wait is not None and args.deployment is None:
        raise UsageError("--wait: for which deployment? say --deployment ID")
    access = access_of(args)
    deadline = None if args.wait is None else time.monotonic() + args.wait
    found: list[Row] = []
    with _view(watch=args.watch) as view:
        for found, trouble in _looks(args, access, deadline):
            view.show(found, trouble)
    if args.json:
        print(msgspec.json.format(msgspec.json.encode({"summary": summary(found), "rows": found})).decode())
    elif not args.watch or not sys.stdout.isatty():
        _print(found, table=not args.watch)
    return 1 if args.wait is not None and any(row.outcome != "committed" for row in found) else 0


def _looks(args: argparse.Namespace, access: Access, deadline: float | None) -> Iterator[tuple[list[Row], str]]:
    """The rows, again and again, and what is wrong with the connection; once, where neither --watch nor --wait asks for more."""
    found: list[Row] = []
    backoff = Backoff(1.0, 30.0)
    while True:
        try:
            with Desk(access) as desk:
                for now in _follow(desk, args, found, deadline):
                    found = now
                    backoff.reset()
                    yield found, ""
                return
        except BrokerError as error:
            if not found or _past(deadline):
                raise
            yield found, str(error)
            time.sleep(backoff.next_s())


def _follow(desk: Desk, args: argparse.Namespace, before: list[Row], deadline: float | None) -> Iterator[list[Row]]:
    """The rows while the connection lasts, until nothing more is asked for. before: of the connection before."""
    fleet = collect(desk)
    if not fleet.devices:
        why = f"has none connected yet, or may {desk.user} not read {desk.prefix}/v1/#?"
        raise BrokerError(f"{desk.broker} has nothing of any device: {why}")
    found = before
    ended = 0
    while True:
        now = rows(fleet.chosen(args.device, args.select), args.deployment)
        found = now + (missing(found, now, fleet.devices) if args.deployment else [])
        if not found and args.deployment:
            raise UsageError(f"no device has a deployment {args.deployment}; edge-fleet status says which there are")
        yield found
        if deadline is None and not args.watch:
            return
        ended = 0 if any(row.outcome == "going" for row in found) else ended + 1
        if deadline is not None and (_past(deadline) or ended == 2):  # once: the end of the deployment before, perhaps
            return
        desk.listen(lambda: False, time.monotonic() + LOOK_S)


def _past(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline


def _view(*, watch: bool) -> AbstractContextManager[View]:
    if not watch:
        return nullcontext(_Silent())
    if sys.stdout.isatty():
        try:
            from agent.fleet.table import LiveTable  # noqa: PLC0415  rich is an extra

            return LiveTable()
        except ImportError:
            print("edge-fleet: a live table needs rich: pip install 'edge-agent[fleet]'", file=sys.stderr)
    return nullcontext(_Lines())


class _Silent:
    """Shows nothing until the end."""

    def show(self, found: Sequence[Row], trouble: str) -> None:
        """See `View`."""


class _Lines:
    """A line for each row that has changed."""

    def __init__(self) -> None:
        self._shown: dict[tuple[str, str], Row] = {}
        self._trouble = ""

    def show(self, found: Sequence[Row], trouble: str) -> None:
        """See `View`."""
        if trouble and trouble != self._trouble:
            print(f"edge-fleet: {trouble} (trying again)", file=sys.stderr)
        self._trouble = trouble
        for row in found:
            if self._shown.get((row.device, row.slot)) != row:
                self._shown[row.device, row.slot] = row
                print("  ".join(_cells(row)), flush=True)


def _print(found: Sequence[Row], *, table: bool) -> None:
    if table and found:
        lines = [("DEVICE", "ONLINE", "SLOT", "HAS", "STATE"), *map(_cells, found)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            print("  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())
    print(summary(found))
    print("".join(f"{line}\n" for line in deployments(found)), end="")


def _cells(row: Row) -> tuple[str, str, str, str, str]:
    online = {True: "yes", False: "no", None: "?"}[row.online]
    return shown(row.device), online, shown(row.slot) or "-", row.has or "-", row.words or "-"
