"""What the repository offers, as all slots of a device know it: looked at by whoever needs to know, and every few hours."""

import logging
import threading
from collections.abc import Callable

from agent.bundles.trust import Listing, Repository
from agent.errors import AgentError

log = logging.getLogger(__name__)

FIRST_AFTER_S = 30.0  # of the start, which has better things to do
AGAIN_S = 600.0  # after a look that failed


class Releases:
    """Looks from a thread of its own, and whenever a deployment needs to know."""

    def __init__(self, repository: Repository, every_s: float, on_listing: Callable[[Listing], None]) -> None:
        """on_listing: told each listing that has been proven, from whatever thread looked."""
        self.repository = repository
        self._every_s = every_s
        self._on_listing = on_listing
        self._stopping = threading.Event()
        self._told = False
        self._thread = threading.Thread(target=self._run, name="releases")

    def start(self) -> None:
        """Begin to look; what was proven before is told at once."""
        if known := self.repository.known():
            self._on_listing(known)
        self._thread.start()

    def stop(self) -> None:
        """End, and a look that is under way."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def fresh(self, cancelled: Callable[[], bool]) -> Listing:
        """What the repository offers now. TrustError, DownloadError, StorageError; DownloadError too where it was cancelled."""
        listing = self.repository.refresh(cancelled)
        self._on_listing(listing)
        return listing

    def _run(self) -> None:
        wait_s = FIRST_AFTER_S
        while not self._stopping.wait(wait_s):
            try:
                self.fresh(self._stopping.is_set)
                wait_s, self._told = self._every_s, False
            except AgentError as error:
                if not self._told and not self._stopping.is_set():
                    log.warning("%s", error)
                self._told = True
                wait_s = min(AGAIN_S, self._every_s)
