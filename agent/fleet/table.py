"""The live table of edge-fleet status, on a terminal."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from agent.fleet.rollout import Outcome, Row, deployments, summary
from agent.fleet.values import shown

COLOURS: dict[Outcome, str] = {"failed": "red", "going": "yellow", "committed": "green", "none": ""}


class LiveTable:
    """Rows that change in place, as a context manager; what went wrong stands first, so that a small window shows it."""

    def __init__(self) -> None:
        self._live = Live(auto_refresh=False)
        self._before: tuple[list[Row], str] | None = None

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.stop()

    def show(self, found: Sequence[Row], trouble: str) -> None:
        """See `agent.fleet.status.View`."""
        now = (list(found), trouble)
        if now != self._before:
            self._before = now
            self._live.update(_render(found, trouble), refresh=True)


def _render(found: Sequence[Row], trouble: str) -> Group:
    table = Table(box=None, pad_edge=False)
    for heading in ("device", "online", "slot", "has", "state", "notes"):
        table.add_column(heading, no_wrap=heading != "notes", overflow="fold")
    for row in found:
        online = Text({True: "yes", False: "no", None: "?"}[row.online], style="" if row.online else "red")
        cells = (Text(shown(row.device)), online, Text(shown(row.slot)), Text(row.has))
        table.add_row(*cells, Text(row.state, style=COLOURS[row.outcome]), Text("; ".join(row.notes)))
    lines = [Text(summary(found), style="bold")]
    lines += map(Text, deployments(found))
    if trouble:
        lines.append(Text(f"{trouble} (trying again)", style="red"))
    return Group(*lines, table)
