"""Shows what the subscriber hears: a table that is drawn anew at a terminal, plain lines elsewhere."""

import time
from collections import Counter
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from agent.publish.messages import Detection, DetectResult
from scripts.demo.subscriber import Subscriber

REDRAWS_A_SECOND = 8
LINE_EVERY_S = 2.0
MAP_COLUMNS, MAP_ROWS = 64, 16  # at most; characters are twice as high as wide
BESIDE, BELOW = 34, 14  # columns and rows of the page that are not the map's
COLORS = ("cyan", "green", "yellow", "magenta", "red", "blue")
SHOWN = 6  # detections
BAR = 20  # characters of a score of 1


class View(Protocol):
    """A way to show the demo, as a context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...

    def show(self, running_s: float) -> None:
        """Show how things stand, `running_s` seconds after the start."""


def make_view(subscriber: Subscriber, advice: str) -> View:
    """The view that fits stdout. advice: for people who want to listen too."""
    console = Console()
    return LiveTable(console, subscriber, advice) if console.is_terminal else Lines(subscriber, advice)


class Lines:
    """A line every `LINE_EVERY_S`."""

    def __init__(self, subscriber: Subscriber, advice: str) -> None:
        self._subscriber = subscriber
        self._advice = advice
        self._next_s = LINE_EVERY_S

    def __enter__(self) -> Self:
        print(self._advice, flush=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...

    def show(self, running_s: float) -> None:
        """See `View`."""
        if running_s < self._next_s:
            return
        self._next_s += LINE_EVERY_S
        latest = self._subscriber.latest
        seen = ", ".join(f"{number} {label}" for label, number in sorted(latest.counts.items())) if latest else ""
        print(f"{running_s:5.1f} s  {_speed(self._subscriber.fps, self._subscriber)}  {seen or 'nothing yet'}", flush=True)


class LiveTable:
    """A map of the belt, counts, speed and the last detections."""

    def __init__(self, console: Console, subscriber: Subscriber, advice: str) -> None:
        self._subscriber = subscriber
        self._advice = advice
        self._console = console
        self._live = Live(console=console, auto_refresh=False)
        self._drawn_s = 0.0
        self._colors: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.__exit__(kind, error, trace)

    def show(self, running_s: float) -> None:
        """See `View`."""
        if time.monotonic() < self._drawn_s + 1 / REDRAWS_A_SECOND:
            return
        self._drawn_s = time.monotonic()
        self._live.update(self._page(running_s), refresh=True)

    def _page(self, running_s: float) -> Group:
        latest = self._subscriber.latest
        if latest is None:
            return Group(Text(f"the agent starts … {running_s:.0f} s"))
        model = f"{latest.model.name} {latest.model.version}"
        top = Table.grid(padding=(0, 2))
        top.add_row(
            Panel.fit(self._map(latest), title="what the model sees on the belt", padding=0),
            Group(self._counts(latest), Text(), self._speed_table()),
        )
        title = Text.assemble(("edge-agent", "bold"), f"  model {model}, {running_s:.0f} s; Ctrl-C ends it")
        return Group(title, top, self._last(latest), Text(self._advice, style="dim"))

    def _map(self, result: DetectResult) -> Text:
        columns, rows = (max(8, min(most, room)) for most, room in self._room())
        cells = [[(" ", "")] * columns for _ in range(rows)]
        for one in reversed(result.detections):
            x1, y1, x2, y2 = one.box
            row = min(rows - 1, int((y1 + y2) / 2 * rows))
            column = max(0, min(columns - len(one.label), round((x1 + x2) / 2 * columns - len(one.label) / 2)))
            for i, character in enumerate(one.label[: columns - column]):
                cells[row][column + i] = (character, f"bold {self._color(one.label)}")
        lines = [Text.assemble(*row) for row in cells]
        return Text("\n").join(lines)

    def _room(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Of the map, the most and what the terminal has: columns, rows."""
        return (MAP_COLUMNS, self._console.width - BESIDE), (MAP_ROWS, self._console.height - BELOW)

    def _counts(self, result: DetectResult) -> Table:
        table = Table.grid(padding=(0, 1))
        seen = Counter(result.counts)
        for label in sorted({*self._colors, *seen}):
            table.add_row(Text(label, style=self._color(label)), Text(f"{seen[label]:2d} {'█' * seen[label]}"))
        return table

    def _speed_table(self) -> Table:
        table = Table.grid(padding=(0, 1))
        latency, score = self._subscriber.latency, self._subscriber.score
        table.add_row("frames a second", f"{self._subscriber.fps:.1f}")
        if latency:
            table.add_row("latency p50", f"{latency.p50:.1f} ms")
            table.add_row("latency p95", f"{latency.p95:.1f} ms")
        table.add_row("frames", f"{score.frames:,}")
        table.add_row("frames lost", f"{self._subscriber.lost:,}")
        table.add_row("parts named", f"{score.named_pct:.1f} %")
        table.add_row("false alarms", f"{score.false_alarms:,}")
        return table

    def _last(self, result: DetectResult) -> Table:
        table = Table("last detections", "score", "", "x1    y1    x2    y2", box=None, header_style="dim", padding=(0, 1))
        for one in result.detections[:SHOWN]:
            table.add_row(*self._row(one))
        for _ in range(SHOWN - len(result.detections)):
            table.add_row("")
        return table

    def _row(self, one: Detection) -> tuple[Text, str, Text, str]:
        color = self._color(one.label)
        box = "  ".join(f"{corner:.2f}" for corner in one.box)
        return Text(one.label, style=color), f"{one.score:.2f}", Text("━" * round(one.score * BAR), style=color), box

    def _color(self, label: str) -> str:
        return self._colors.setdefault(label, COLORS[len(self._colors) % len(COLORS)])


def summary(subscriber: Subscriber) -> str:
    """What became of the run, in a few lines."""
    score = subscriber.score
    return (
        f"{score.frames:,} frames, {subscriber.lost:,} lost: {_speed(subscriber.mean_fps, subscriber)} "
        f"({score.named:,} of {score.in_view:,} that were in view, frame by frame; {score.false_alarms:,} false alarms)"
    )


def _speed(fps: float, subscriber: Subscriber) -> str:
    latency = subscriber.latency
    times = f"latency p50 {latency.p50:.1f} p95 {latency.p95:.1f} ms  " if latency else ""
    return f"{fps:4.1f} fps  {times}parts named {subscriber.score.named_pct:.1f} %"
