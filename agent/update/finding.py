"""The phase `accepted`: which bundle is meant, and whether this slot may have it."""

import time
from hashlib import sha256

from agent.bundles.trust import Listing, Release
from agent.errors import DownloadError, TrustError
from agent.publish.orders import UpdateFailure
from agent.update.journal import Active, Journal, Ref, Wish
from agent.update.machine import AlreadyServed, Failed, Resolved, Tried
from agent.update.phase import AGAIN_S, Attention, Deferral, Outcome, Tools, factory_ref, failure, overdue, ref_to, wish_of


class Finder:
    """Of one slot, for one thread."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._spread: tuple[str, float] = ("", 0.0)  # deployment, and the monotonic instant at which it begins here

    def find(self, journal: Journal, active: Active, attention: Attention) -> Outcome:
        """See above. BundleError where the factory model cannot be used, StorageError where nothing can be written."""
        wish = wish_of(journal)
        if overdue(wish, self._tools.computer):
            return Failed(failure("expired", "accepted", f"it was wanted by {wish.not_after}"))
        if wait_s := self._spread_s(wish):
            return Deferral("spread", wait_s)
        if wish.source == "factory":
            target = ref_to(self._tools.open_factory(), "factory")
        elif wish.name not in self._tools.allow:
            names = ", ".join(sorted(self._tools.allow))
            return Failed(failure("not_allowed", "accepted", f"this slot may have {names}, not {wish.name}; see its allow"))
        else:
            found = self._stored(wish) if wish.source == "store" else self._own(wish, active) or self._released(wish, attention)
            if not isinstance(found, Ref):
                return found
            target = found
        if active.current and active.current.digest == target.digest:
            return AlreadyServed()
        at_hand = target.origin == "factory" or self._at_hand(target)
        return Resolved(target, at_hand)

    def _at_hand(self, target: Ref) -> bool:
        return any(stored.digest == target.digest and stored.complete for stored in self._tools.store.bundles())

    def _own(self, wish: Wish, active: Active) -> Ref | Failed | None:
        """The very bundle that serves, did before, or stands in the config: nobody needs to vouch for it again."""
        refs = [ref for ref in (active.current, active.previous, factory_ref(self._tools)) if ref and ref.digest == wish.digest]
        known = self._known(wish)
        if refs and known is not None and known.digest == wish.digest and known.withdrawn is not None:
            return Failed(_withdrawn(known))
        return refs[0] if refs else None

    def _stored(self, wish: Wish) -> Ref | Failed:
        assert wish.digest  # noqa: S101  whoever means a bundle of the store names it by its digest
        target = Ref(name=wish.name, version=wish.version, digest=wish.digest, origin="store")
        if not self._at_hand(target):
            return Failed(failure("not_found", "accepted", f"{wish.name} {wish.version} is not in this device's store"))
        known = self._known(wish)
        if known is not None and known.digest == target.digest and known.withdrawn is not None:
            return Failed(_withdrawn(known))
        return target

    def _released(self, wish: Wish, attention: Attention) -> Ref | Outcome:
        if self._tools.releases is None:
            return Failed(failure("no_repository", "accepted", "the config names no repository; see updates.repository"))
        try:
            return self._meant(wish, self._tools.releases.fresh(attention.is_wanted))
        except DownloadError as error:
            unreachable = Deferral("network", None, failure(error.code, "accepted", error, retryable=True))
            return None if attention.is_wanted() else self._vouched(wish) or unreachable
        except TrustError as error:
            untrusted = failure(error.code, "accepted", error, retryable=True)
            return Deferral("clock", AGAIN_S, untrusted) if error.code == "clock" else Tried(untrusted)

    def _vouched(self, wish: Wish) -> Ref | None:
        """A bundle that the repository has proven before, and that lies in the store: enough to go back to while it is away."""
        release = self._known(wish)
        if release is None or release.withdrawn is not None or wish.digest not in (None, release.digest):
            return None
        ref = _ref(release)
        return ref if self._at_hand(ref) else None

    def _known(self, wish: Wish) -> Release | None:
        """What the repository said of it last."""
        known = self._tools.releases.repository.known() if self._tools.releases else None
        return known.find(wish.name, wish.version) if known else None

    def _meant(self, wish: Wish, listing: Listing) -> Ref | Failed:
        release = listing.find(wish.name, wish.version)
        what = f"{wish.name} {wish.version}"
        if release is None:
            return Failed(failure("not_found", "accepted", f"{what} is not in the repository", retryable=True))
        if release.withdrawn is not None:
            return Failed(_withdrawn(release))
        if wish.digest not in (None, release.digest):
            detail = f"{what} has the digest {release.digest} in the repository, not {wish.digest}"
            return Failed(failure("digest_mismatch", "accepted", detail))
        return _ref(release)

    def _spread_s(self, wish: Wish) -> float:
        """How long this device still waits, of the time over which the deployment is spread."""
        if self._spread[0] != wish.deployment:
            share = int.from_bytes(sha256(f"{self._tools.device} {wish.deployment}".encode()).digest()[:8], "big") / 2**64
            self._spread = (wish.deployment, time.monotonic() + share * wish.policy.spread_s)
        return max(0.0, self._spread[1] - time.monotonic())


def _withdrawn(release: Release) -> UpdateFailure:
    return failure("withdrawn", "accepted", f"{release.name} {release.version} was withdrawn: {release.withdrawn}")


def _ref(release: Release) -> Ref:
    return Ref(name=release.name, version=release.version, digest=release.digest, origin="store")
