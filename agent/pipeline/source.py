"""The one loop that runs every source: open, deliver, and after a failure open again."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

from agent.backoff import Backoff
from agent.core.types import Frame
from agent.errors import SourceError
from agent.pipeline.mailbox import Mailbox
from agent.pipeline.streams import FrameStream, is_live
from agent.pipeline.watch import Look, PictureWatch
from agent.publish.messages import SourceReason, SourceState
from agent.sources.config import FileConfig, ImagesConfig, SourceConfig

log = logging.getLogger(__name__)

BACKOFF_FIRST_S, BACKOFF_CAP_S = 0.2, 3.0
CLEAN_S = 10.0  # a source that ran so long starts the backoff over


LOOKS: dict[Look, SourceReason] = {"running": "ok", "frozen": "same_picture", "black": "black_picture"}


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """detail: one line for the log."""

    state: SourceState
    reason: SourceReason
    detail: str = ""


class SourceLoop:
    """Keeps a source open and leaves its frames in the mailboxes of the pipelines that watch it, from a thread of its own."""

    def __init__(
        self,
        name: str,
        config: SourceConfig,
        open_stream: Callable[[int], FrameStream],
        mailboxes: Sequence[Mailbox],
        on_status: Callable[[str, SourceStatus], None],
    ) -> None:
        """open_stream: called with the number of the stream's first frame."""
        self.name = name
        self.live = is_live(config)
        self.status = SourceStatus("connecting", "starting")
        self._finite = isinstance(config, FileConfig | ImagesConfig) and not config.loop and not self.live
        self._open_stream = open_stream
        self._mailboxes = mailboxes
        self._on_status = on_status
        self._watch_after_s = (config.frozen_after_s, config.black_after_s)
        self._told = False  # whether anything has been said of it
        self._delivered = 0  # frames, counted from the source's first
        self._stopping = threading.Event()
        self._stream: FrameStream | None = None
        self._backoff = Backoff(BACKOFF_FIRST_S, BACKOFF_CAP_S, at_once=True)
        self._thread = threading.Thread(target=self._run, name=f"source/{name}")

    def start(self) -> None:
        """Begin to open."""
        self._thread.start()

    def stop(self) -> None:
        """End the source, and wait for that; its pipelines still get the last frame."""
        self._stopping.set()
        stream = self._stream
        if stream is not None:
            stream.interrupt()
        for mailbox in self._mailboxes:
            mailbox.end()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        last: SourceStatus | None = None
        while not self._stopping.is_set():
            if last is None:
                self._set(SourceStatus("connecting", "starting"))
            opened, before = time.monotonic(), self._delivered
            try:
                self._deliver_all()
                last = SourceStatus("stopped", "ended")
                break
            except SourceError as error:
                last = SourceStatus("lost", _reason(error), str(error))
                if self._stopping.is_set():
                    break
                if self._finite and self._delivered == before > 0:  # it fails at the same frame again
                    last = SourceStatus("stopped", last.reason, last.detail)
                    break
            self._set(last)
            if time.monotonic() - opened > CLEAN_S:
                self._backoff.reset()
            self._stopping.wait(self._backoff.next_s())
        if self._stopping.is_set():
            last = SourceStatus("stopped", "stopped_by_agent")
        self._set(last or SourceStatus("stopped", "stopped_by_agent"))
        for mailbox in self._mailboxes:
            mailbox.end()

    def _deliver_all(self) -> None:
        """From opening to the end. A finite source that is opened again goes on where it was."""
        stream = self._stream = self._open_stream(0 if self._finite else self._delivered)
        watch = PictureWatch(*self._watch_after_s)
        try:
            while not self._stopping.is_set():
                frame = stream.read()
                if frame is None:
                    return
                if frame.seq < self._delivered:
                    continue
                look = watch.look(frame) if self.live else "running"
                if look != self.status.state:
                    self._set(SourceStatus(look, LOOKS[look]))
                self._put(frame)
                del frame  # its slot is the camera's again, once the pipelines are done with it
        finally:
            stream.close()
            self._stream = None

    def _put(self, frame: Frame) -> None:
        self._delivered = frame.seq + 1
        for mailbox in self._mailboxes:
            mailbox.put(frame)

    def _set(self, status: SourceStatus) -> None:
        """Say a failure once and its recovery once."""
        before, self.status = self.status, status
        if (before.state, before.reason) == (status.state, status.reason) and self._told:
            return
        self._told = True
        if status.state == "lost":
            log.warning("source %s is lost (%s): %s", self.name, status.reason, status.detail)
        elif status.state == "running" and before.state not in {"connecting", "running"}:
            log.info("source %s is back", self.name)
        elif status.state == "stopped" and status.reason in {"ended", "stopped_by_agent"}:
            log.info("source %s: %s", self.name, status.reason.replace("_", " "))
        elif status.state == "stopped":
            log.warning("source %s is given up: it fails at the same place again", self.name)
        elif status.state in {"frozen", "black"}:
            log.warning("source %s is %s", self.name, status.state)
        self._on_status(self.name, status)


def _reason(error: SourceError) -> SourceReason:
    """What the error says, if the message schema knows it: it may come from another process."""
    known: dict[str, SourceReason] = {reason: reason for reason in get_args(SourceReason)}
    return known.get(error.reason, "worker_failed")
