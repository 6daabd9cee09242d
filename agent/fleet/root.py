"""The next version of a root: signed by what the one before asks for, and by what it asks for itself."""

from copy import deepcopy
from datetime import UTC, datetime

from tuf.api.metadata import Metadata, Root

from agent.fleet.edition import renew, sign
from agent.fleet.keys import Keyring


def next_root(before: Root, content: Root, keys: Keyring) -> Metadata[Root]:
    """Sign it. PublishError where keys of either are missing.

    Every key at hand signs, so that a device that skips no version, as none may, can follow with the old root and the new.
    """
    signers = {key.id: key for root in (before, content) for key in keys.of(Root.type, root)}
    content.version = before.version + 1
    renew(content, datetime.now(UTC).replace(microsecond=0))
    return sign(content, signers.values())


def bridge(before: Root, after: Root, role: str) -> Root:
    """A root between two that give a role other keys: what the old ones have signed holds under it, and what the new ones sign."""
    content = deepcopy(after)
    for keyid in before.roles[role].keyids:
        content.add_key(before.keys[keyid], role)
    content.roles[role].threshold = min(root.roles[role].threshold for root in (before, after))
    return content
