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
from scripts.demo.desk import NEW
from scripts.demo.story import Line, Story, Who
from scripts.demo.subscriber import Subscriber

REDRAWS_A_SECOND = 8
LINE_EVERY_S = 2.0
MAP_COLUMNS, MAP_ROWS = 64, 16  # at most; characters are twice as high as wide
BESIDE, BELOW = 42, 12  # columns and rows of the page that are not the map's
TOLD = 7  # lines of the story
COLORS = ("cyan", "green", "yellow", "magenta", "red", "blue")
WHO: dict[Who, str] = {"desk": "yellow", "device": "green"}  # the colours of their lines
SHOWN = 6  # detections, at a terminal of at least
TALL = 36  # rows
BAR = 20  # characters of a score of 1


class View(Protocol):
    """A way to show the demo, as a context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...

    def show(self) -> None:
        """Show how things stand."""


def make_view(subscriber: Subscriber, story: Story, advice: str) -> View:
    """The view that fits stdout. advice: for people who want to listen too."""
    console = Console()
    return LiveTable(console, subscriber, story, advice) if console.is_terminal else Lines(subscriber, story, advice)


class Lines:
    """A line every `LINE_EVERY_S`, and the story between them."""

    def __init__(self, subscriber: Subscriber, story: Story, advice: str) -> None:
        self._subscriber = subscriber
        self._story = story
        self._advice = advice
        self._next_s = LINE_EVERY_S
        self._told = 0

    def __enter__(self) -> Self:
        print(self._advice, flush=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...

    def show(self) -> None:
        """See `View`."""
        for line in self._story.lines[self._told :]:
            self._told += 1
            print(_told(line), flush=True)
        if self._story.running_s < self._next_s:
            return
        self._next_s += LINE_EVERY_S
        print(f"{self._story.running_s:5.1f} s  {self._now()}", flush=True)

    def _now(self) -> str:
        latest = self._subscriber.latest
        if latest is None:
            return "nothing yet"
        version = latest.model.version
        named = f"{self._subscriber.scores[version].named_pct:.1f} % named by {version}"
        seen = ", ".join(f"{number} {label}" for label, number in sorted(latest.counts.items()))
        return f"{_speed(self._subscriber.fps, self._subscriber)}  {named}  {seen}"


class LiveTable:
    """A map of the belt, counts, speed, the story and, where there is room, the last detections."""

    def __init__(self, console: Console, subscriber: Subscriber, story: Story, advice: str) -> None:
        self._subscriber = subscriber
        self._story = story
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

    def show(self) -> None:
        """See `View`."""
        if time.monotonic() < self._drawn_s + 1 / REDRAWS_A_SECOND:
            return
        self._drawn_s = time.monotonic()
        self._live.update(self._page(), refresh=True)

    def _page(self) -> Group:
        latest, running_s = self._subscriber.latest, self._story.running_s
        if latest is None:
            return Group(Text(f"the agent starts … {running_s:.0f} s"))
        model = f"{latest.model.name} {latest.model.version} ({latest.model.digest[:12]})"
        top = Table.grid(padding=(0, 2))
        top.add_row(
            Panel.fit(self._map(latest), title="what the model sees on the belt", padding=0),
            Group(self._counts(latest), Text(), self._speed_table(latest.model.version)),
        )
        title = Text.assemble(("edge-agent", "bold"), f"  model {model}, {running_s:.0f} s; Ctrl-C ends it")
        last = [self._last(latest)] if self._console.height >= TALL else []
        return Group(title, top, *self._over_the_air(), *last, Text(self._advice, style="dim"))

    def _over_the_air(self) -> list[Text]:
        """What has happened last, and how far it is with what happens now; always as many lines."""
        lines = self._story.lines[-TOLD:]
        reported = self._story.reported
        told = [Text(_told(line), style=WHO[line.who], no_wrap=True, overflow="ellipsis") for line in lines]
        if lines and reported and reported.progress_pct is not None:
            told[-1].append(f"  {'█' * round(reported.progress_pct / 100 * BAR)} {reported.progress_pct:.0f} %", "bold")
        return told + [Text()] * (TOLD - len(told))

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

    def _speed_table(self, version: str) -> Table:
        table = Table.grid(padding=(0, 1))
        latency = self._subscriber.latency
        table.add_row("frames a second", f"{self._subscriber.fps:.1f}")
        if latency:
            table.add_row("latency", f"p50 {latency.p50:.1f} p95 {latency.p95:.1f} ms")
        table.add_row("frames", f"{self._subscriber.frames:,}")
        table.add_row("frames lost", f"{self._subscriber.lost:,}")
        for one, score in list(self._subscriber.scores.items()):
            style = "" if one == version else "dim"
            table.add_row(f"named by {one}", f"{score.named_pct:.1f} %, {NEW}s {score.named_pct_of(NEW):.0f} %", style=style)
        if swap := self._story.swap:
            table.add_row("at the switch", f"gap {swap.gap_ms:.1f} ms, {swap.frames_lost} lost")
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


def summary(subscriber: Subscriber, story: Story) -> str:
    """What became of the run, in a few lines."""
    lines = [f"{subscriber.frames:,} frames, {subscriber.lost:,} lost: {_speed(subscriber.mean_fps, subscriber)}"]
    lines += [
        f"{version}: parts named {score.named_pct:.1f} % ({score.named:,} of {score.in_view:,} that were in view, frame by frame; "
        f"{score.false_alarms:,} false alarms), {NEW}s {score.named_pct_of(NEW):.1f} %"
        for version, score in subscriber.scores.items()
    ]
    return "\n".join([*lines, *story.outcomes])


def _speed(fps: float, subscriber: Subscriber) -> str:
    latency = subscriber.latency
    return f"{fps:4.1f} fps" + (f"  latency p50 {latency.p50:.1f} p95 {latency.p95:.1f} ms" if latency else "")


def _told(line: Line) -> str:
    return f"{line.at_s:5.1f} s  {line.who:6}  {line.text}"
