"""A TUF repository of bundles, made with tuf.api, and a web server for it that misbehaves where it is told to."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)  # when everything is published first
ROLES = ("root", "targets", "snapshot", "timestamp")
DAYS = {"root": 365, "targets": 90, "snapshot": 14, "timestamp": 7}  # until it expires


@dataclass
class Site:
    """What a server has, by path, and how it misbehaves. faults: in place of a plain answer. requests: the paths asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, "Fault"] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    """Answers from `site`."""

    site: ClassVar[Site]

    def do_GET(self) -> None:
        path = self.path.lstrip("/")
        self.site.requests.append(path)
        body = self.site.files.get(path)
        if path in self.site.faults:
            self.site.faults[path](self, body or b"")
        elif body is None:
            self.send_error(HTTPStatus.NOT_FOUND)
        else:
            self.begin(len(body))
            self.wfile.write(body)

    def begin(self, length: int | None) -> None:
        """Say that a body comes, and of what length, if any."""
        self.send_response(HTTPStatus.OK)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name that http.server has
        """Say nothing."""


Fault = Callable[[Handler, bytes], None]


def answers(status: int) -> Fault:
    """Nothing but a status."""
    return lambda handler, _body: handler.send_error(status)


def cut(handler: Handler, body: bytes) -> None:
    """Half of the body, and the end of the connection."""
    handler.begin(len(body))
    handler.wfile.write(body[: len(body) // 2])


def endless(handler: Handler, _body: bytes) -> None:
    """Bytes without end."""
    handler.begin(None)
    _repeat(handler, b" " * 4096, pause_s=0)


def dribbling(handler: Handler, _body: bytes) -> None:
    """A byte now and then, without end."""
    handler.begin(None)
    _repeat(handler, b" ", pause_s=0.02)


def dribbling_headers(handler: Handler, _body: bytes) -> None:
    """A status, and headers without end."""
    handler.send_response(HTTPStatus.OK)
    handler.flush_headers()
    _repeat(handler, b"X: y\r\n", pause_s=0.5)


def silent(handler: Handler, _body: bytes) -> None:
    """No answer."""
    handler.site.ended.wait()


def _repeat(handler: Handler, data: bytes, pause_s: float) -> None:
    try:
        while not handler.site.ended.wait(pause_s):
            handler.wfile.write(data)
    except OSError:
        return  # the client has gone


@contextmanager
def serving(site: Site) -> Iterator[str]:
    """The address of a server."""

    class Bound(Handler):
        pass

    Bound.site = site
    with ThreadingHTTPServer(("127.0.0.1", 0), Bound) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            site.ended.set()
            server.shutdown()
            thread.join()


class TufRepository:
    """Keys, metadata and `site.files`. Change `signed[role]`, then `publish` it. Root is 2 of 3 keys, all else 1 of 1."""

    def __init__(self, site: Site, now: datetime = NOW) -> None:
        self.site = site
        self.now = now
        self.signers = {role: [new_key() for _ in range(3 if role == "root" else 1)] for role in ROLES}
        self.root, self.targets = Root(consistent_snapshot=True), Targets()
        self.snapshot, self.timestamp = Snapshot(), Timestamp()
        for role, signers in self.signers.items():
            for signer in signers:
                self.root.add_key(signer.public_key, role)
        self.root.roles["root"].threshold = 2
        for role in ROLES:
            self.signed(role).version = 0  # publishing adds one
        self.publish(*ROLES)
        self.first_root = site.files["metadata/1.root.json"]

    def add(self, name: str, version: str, custom: dict[str, str] | None = None, manifest: bytes | None = None) -> None:
        """Put a release among the targets, not yet published."""
        path = f"{name}/{version}/manifest.json"
        data = manifest or json.dumps({"name": name, "version": version}).encode()
        target = TargetFile.from_data(path, data, ["sha256"])
        if custom is not None:
            target.unrecognized_fields["custom"] = custom
        self.targets.targets[path] = target
        self.site.files[f"targets/{name}/{version}/{target.hashes['sha256']}.manifest.json"] = data

    def publish(self, *roles: str, hashes: bool = False) -> None:
        """Sign the next version of each, and what of it the next role says; without any: of all but root."""
        for role in roles or ("targets", "snapshot", "timestamp"):
            signed = self.signed(role)
            signed.version += 1
            signed.expires = self.now + timedelta(days=DAYS[role])
            self.put(role, self.sign(role))
            data = self.site.files[self.path(role)]
            meta = MetaFile(signed.version)
            if hashes:
                meta = MetaFile.from_data(signed.version, data, ["sha256"])
            if role == "targets":
                self.snapshot.meta["targets.json"] = meta
            elif role == "snapshot":
                self.timestamp.snapshot_meta = meta

    def signed(self, role: str) -> Root | Targets | Snapshot | Timestamp:
        """What a role signs."""
        found: Root | Targets | Snapshot | Timestamp = getattr(self, role)
        return found

    def sign(self, role: str) -> bytes:
        """A role's metadata as they are, signed by all its keys."""
        if role == "timestamp" and "x-signed-at" in self.timestamp.unrecognized_fields:
            self.vouch(self.now)
        metadata = Metadata[Any](self.signed(role))
        for signer in self.signers[role]:
            metadata.sign(signer, append=True)
        return metadata.to_bytes()

    def vouch(self, time: datetime) -> None:
        """Say in the timestamp, from now on, when it was signed."""
        self.timestamp.unrecognized_fields["x-signed-at"] = f"{time:%Y-%m-%dT%H:%M:%SZ}"

    def rotate(self, role: str) -> None:
        """A new key for a role in place of its own, and a root that says so."""
        for keyid in list(self.root.roles[role].keyids):
            self.root.revoke_key(keyid, role)
        self.signers[role] = [new_key()]
        self.root.add_key(self.signers[role][0].public_key, role)
        self.publish("root")

    def path(self, role: str) -> str:
        """Where its newest metadata are."""
        return "metadata/timestamp.json" if role == "timestamp" else f"metadata/{self.signed(role).version}.{role}.json"

    def put(self, role: str, data: bytes) -> None:
        """Serve that as its newest metadata."""
        self.site.files[self.path(role)] = data

    def write_root(self, path: Path) -> Path:
        """The file that a device is given first."""
        path.write_bytes(self.first_root)
        return path


def new_key() -> CryptoSigner:
    """A signer with a key of its own."""
    return CryptoSigner.generate_ed25519()
