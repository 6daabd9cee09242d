"""Private keys: ed25519, PKCS8 PEM, one a file, ROLE-N.pem, for its owner alone; or in the environment, for CI.

A key's id is TUF's: securesystemslib/signer, SSlibKey.from_crypto.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Root

from agent import durable
from agent.errors import PublishError
from agent.fleet.private import read_private

PASSPHRASE = "EDGE_FLEET_PASSPHRASE"  # noqa: S105  the name of a variable
PEM = re.compile(r"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----", re.DOTALL)
SHORT = 12  # digits of a key's id that people see
MOST_KEYS = 20  # of a role


def key_variable(role: str) -> str:
    """The variable of the environment that may hold a role's keys, one PEM after the other."""
    return f"EDGE_FLEET_{role.upper()}_KEY"


@dataclass(frozen=True, slots=True)
class HeldKey:
    """A private key that is at hand. place: the file or the variable that holds it."""

    signer: CryptoSigner
    place: str

    @property
    def id(self) -> str:
        """By which metadata name it."""
        return self.signer.public_key.keyid


@dataclass(frozen=True, slots=True)
class Keyring:
    """The private keys at hand. folders: of key files, the first is where new ones go. passphrase: of those that are encrypted."""

    folders: Sequence[Path]
    passphrase: bytes | None = None
    environ: Mapping[str, str] = field(default_factory=dict)

    def held(self, role: str) -> list[HeldKey]:
        """Every key of a role. PublishError for what is no such key, UsageError where others can read its file, or we cannot."""
        text = self.environ.get(key_variable(role), "")
        keys = [HeldKey(self._load(pem.encode(), f"${key_variable(role)}"), f"${key_variable(role)}") for pem in PEM.findall(text)]
        if text.strip() and not keys:
            raise PublishError(f"${key_variable(role)}: expected a private key in PEM")
        for folder in self.folders:
            paths = sorted(folder.glob(f"{role}-*.pem"))
            keys += [HeldKey(self._load(read_private(path), str(path)), str(path)) for path in paths]
        return list({key.id: key for key in reversed(keys)}.values())[::-1]

    def of(self, role: str, root: Root) -> list[HeldKey]:
        """Those that a root trusts for a role. PublishError where they are fewer than its threshold."""
        trusted = root.roles[role]
        keys = self._trusted(role, root)
        if len(keys) < trusted.threshold:
            ids = ", ".join(keyid[:SHORT] for keyid in trusted.keyids)
            where = ", ".join(map(str, self.folders)) or "no folder"
            raise PublishError(
                f"{role}: {len(keys)} of its keys ({ids}) at hand, {trusted.threshold} needed; looked for {role}-*.pem in {where} "
                f"and in ${key_variable(role)}; say --keys DIR"
            )
        return keys

    def suffice(self, role: str, root: Root) -> bool:
        """Whether there are as many as its threshold."""
        return len(self._trusted(role, root)) >= root.roles[role].threshold

    def create(self, role: str) -> HeldKey:
        """Make a key and its file. OSError where that cannot be written."""
        folder = self.folders[0]
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = (path.name for place in self.folders for path in place.glob(f"{role}-*.pem"))  # no two keys of one name anywhere
        numbers = [int(found[1]) for name in names if (found := re.fullmatch(rf"{role}-(\d+)\.pem", name))]
        path = folder / f"{role}-{max(numbers, default=0) + 1}.pem"
        part = path.with_name(f"{path.name}.part")  # half a key file would be in the way of every verb
        private = Ed25519PrivateKey.generate()
        encryption = BestAvailableEncryption(self.passphrase) if self.passphrase else NoEncryption()
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
        durable.sync_folder(folder)
        return HeldKey(CryptoSigner(private), str(path))

    def _trusted(self, role: str, root: Root) -> list[HeldKey]:
        return [key for key in self.held(role) if key.id in root.roles[role].keyids]

    def _load(self, pem: bytes, place: str) -> CryptoSigner:
        encrypted = b"ENCRYPTED" in pem
        if encrypted and self.passphrase is None:
            raise PublishError(f"{place}: it is encrypted; say --passphrase-file FILE or set ${PASSPHRASE}")
        try:
            private = load_pem_private_key(pem, self.passphrase if encrypted else None)
        except ValueError:
            why = "the passphrase is not that of this key" if encrypted else "no private key in PEM"
            raise PublishError(f"{place}: {why}") from None
        if not isinstance(private, Ed25519PrivateKey):
            raise PublishError(f"{place}: expected an ed25519 key; openssl genpkey -algorithm ed25519 makes one")
        return CryptoSigner(private)
