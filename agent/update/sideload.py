"""Bundles that somebody puts into a folder on the device, unsigned, where the config allows it."""

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from agent.bundles.load import open_variants
from agent.errors import AgentError, BundleError, ConfigError

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent

NAME = "sideload"
QUIET_S = 2.0
END_S = 2.0  # for a bundle that is being taken

log = logging.getLogger(__name__)


class Sideload:
    """Watches a folder, each folder in which is a bundle, from threads of its own.

    A bundle is taken when its bundle.yaml and all files that this names are there, and nothing in it has changed for `quiet_s`:
    moved there as a whole or copied file by file. Its folder is then removed, lest it be taken again at each start. What is wrong
    is told once, and looked at again when it changes, and at the next start.
    """

    def __init__(self, folder: Path, on_bundle: Callable[[Path], None], quiet_s: float = QUIET_S) -> None:
        """on_bundle: called with each bundle's folder, of which it takes what it needs. On an AgentError the folder stays."""
        self._folder = folder
        self._on_bundle = on_bundle
        self._quiet_s = quiet_s
        self._due: dict[str, float] = {}  # names in the folder, and when nothing will have changed in them for long enough
        self._complaints: dict[str, str] = {}  # the last of each name, so that the log has it once
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="sideload", daemon=True)

    def start(self) -> None:
        """Begin to watch, and take what is there already. ConfigError where the folder cannot be watched."""
        from watchdog import events  # noqa: PLC0415  most devices do without it
        from watchdog.observers import Observer  # noqa: PLC0415  as above

        # not those of reading: looking at a bundle must not look like a change of it
        changes: list[type[events.FileSystemEvent]] = [
            *(events.FileCreatedEvent, events.FileModifiedEvent, events.FileMovedEvent, events.FileDeletedEvent),
            *(events.DirCreatedEvent, events.DirMovedEvent, events.DirDeletedEvent, events.FileClosedEvent),
        ]
        happened = self._happened

        class Handler(events.FileSystemEventHandler):
            def on_any_event(self, event: "FileSystemEvent") -> None:
                happened(event)

        self._observer = Observer()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._observer.schedule(Handler(), str(self._folder), recursive=True, event_filter=changes)
            self._observer.start()
            names = os.listdir(self._folder)  # noqa: PTH208  names are wanted, not paths
        except OSError as error:
            raise ConfigError(f"updates.sideload: {self._folder} cannot be watched: {error.strerror or error}") from None
        for name in names:
            self._touch(name)
        self._thread.start()

    def stop(self) -> None:
        """Watch no more; what is being taken is waited for, but not for ever: its folder stays until it is there as a whole."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._observer.stop()
            self._observer.join()
            self._thread.join(END_S)

    def _happened(self, event: "FileSystemEvent") -> None:
        for path in (event.src_path, event.dest_path):
            inside = Path(os.fsdecode(path)).relative_to(self._folder).parts if path else ()
            if inside:
                self._touch(inside[0])
            elif path and event.event_type == "deleted":
                log.warning("sideload: %s is gone; it is watched again when the agent is started", self._folder)

    def _touch(self, name: str) -> None:
        if not name.startswith("."):
            with self._changed:
                self._due[name] = time.monotonic() + self._quiet_s
                self._changed.notify_all()

    def _run(self) -> None:
        while (name := self._next()) is not None:
            self._look(name)

    def _next(self) -> str | None:
        """The next name that has been quiet for long enough, waiting for it; None at the end."""
        with self._changed:
            while not self._stopping:
                name = min(self._due, key=self._due.__getitem__, default=None)
                wait_s = None if name is None else self._due[name] - time.monotonic()
                if name is not None and wait_s is not None and wait_s <= 0:
                    del self._due[name]
                    return name
                self._changed.wait(wait_s)
            return None

    def _look(self, name: str) -> None:
        path = self._folder / name
        try:
            if not os.path.lexists(path):
                self._complaints.pop(name, None)
                return
            if path.is_symlink() or not path.is_dir():
                raise BundleError(f"{path}: a bundle is a folder, with a bundle.yaml in it")
            open_variants(path)
            self._on_bundle(path)
        except AgentError as error:
            self._complain(name, str(error))
            return
        except OSError as error:
            self._complain(name, f"{error.filename or path}: {error.strerror}")
            return
        try:
            shutil.rmtree(path)
            self._complaints.pop(name, None)
        except OSError as error:
            self._complain(name, f"{path} is taken, but cannot be removed: {error.strerror}; it will be taken at each start")

    def _complain(self, name: str, complaint: str) -> None:
        if self._complaints.get(name) != complaint:
            self._complaints[name] = complaint
            log.warning("sideload: %s", " ".join(complaint.split()))
