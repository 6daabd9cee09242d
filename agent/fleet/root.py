"""The next version of a root: signed by what the one before asks for, and by what it asks for itself."""

from datetime import UTC, datetime

from tuf.api.metadata import Metadata, Root

from agent.fleet.edition import renew, sign
from agent.fleet.keys import Keyring
from agent.fleet.repository import Current


def next_root(current: Current, content: Root, keys: Keyring) -> Metadata[Root]:
    """Sign it. PublishError where keys of either are missing.

    Every key at hand signs, so that a device that skips no version, as none may, can follow with the old root and the new.
    """
    before = current.root.signed
    signers = {key.id: key for root in (before, content) for key in keys.of(Root.type, root)}
    content.version = before.version + 1
    renew(content, datetime.now(UTC).replace(microsecond=0))
    return sign(content, signers.values())
