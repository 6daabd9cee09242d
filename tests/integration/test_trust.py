"""What a device believes of a repository that is attacked, broken, slow or old; by real children, from a real web server."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata

from agent.bundles.http import FetchLimits
from agent.bundles.trust import START_S, Release, Repository
from agent.errors import AgentError, DownloadError, StorageError, TrustError
from tests import https_server, tuf_repository
from tests.certificates import Authority
from tests.processes import children
from tests.tuf_repository import NOW, ROLES, Fault, Handler, Site, TufRepository, answers, serving
from tests.waiting import wait_until

LIMITS = FetchLimits(timeout_s=10, min_bytes_per_s=1, window_s=10, total_s=30)
IN_1970 = datetime(1970, 1, 2, tzinfo=UTC)
IN_2045 = datetime(2045, 1, 1, tzinfo=UTC)


@dataclass
class Device:
    """A device and its clock."""

    url: str
    root: Path
    state: Path
    now: datetime = NOW
    synced: bool = True
    limits: FetchLimits = LIMITS
    start_s: float = START_S

    def repository(self) -> Repository:
        """As after a restart."""
        return Repository(
            self.url,
            self.root,
            self.state,
            clock_synced=lambda: self.synced,
            clock=lambda: self.now,
            limits=self.limits,
            start_s=self.start_s,
        )

    def versions(self) -> list[str]:
        """The versions that a refresh finds."""
        return [release.version for release in self.repository().refresh().releases]

    def refused(self, kind: type[AgentError], code: str) -> str:
        """What is said of a refresh that fails."""
        with pytest.raises(kind) as error:
            self.repository().refresh()
        message = str(error.value)
        assert getattr(error.value, "code", None) == code, message
        assert "\n" not in message
        assert "Traceback" not in message
        return message

    def metadata(self) -> list[Path]:
        """All files of its trusted metadata, without links."""
        return sorted(path for path in self.state.glob("*/metadata/**/*") if path.is_file() and not path.is_symlink())


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def repository(site: Site) -> TufRepository:
    """With people 1.0.0."""
    made = TufRepository(site)
    made.add("people", "1.0.0")
    made.publish()
    return made


@pytest.fixture
def device(site: Site, repository: TufRepository, tmp_path: Path) -> Iterator[Device]:
    with serving(site) as url:
        yield Device(url, repository.write_root(tmp_path / "root.json"), tmp_path / "trust")


# What is genuine


def test_a_listing_of_what_is_published(device: Device, repository: TufRepository, site: Site) -> None:
    repository.add("people", "1.1.0", custom={"withdrawn": "counts dogs"})
    repository.add("dogs", "1.0.0")
    repository.vouch(NOW)
    repository.publish()
    trusted = device.repository()
    assert trusted.known() is None
    listing = trusted.refresh()
    assert [(r.name, r.version, r.withdrawn) for r in listing.releases] == [
        ("dogs", "1.0.0", None),
        ("people", "1.0.0", None),
        ("people", "1.1.0", "counts dogs"),
    ]
    assert listing.signed_at == "2026-11-25T12:00:00Z"
    assert device.repository().known() == listing
    newest = listing.newest(["people"])
    assert newest
    path = trusted.manifest_url(newest).removeprefix(f"{device.url}/")
    assert len(site.files[path]) == newest.length


def test_addresses_of_manifests_and_blobs(device: Device) -> None:
    trusted = Repository("https://models.example/", device.root, device.state, clock_synced=lambda: True)
    assert trusted.manifest_url(Release("a", "1.0.0", "d1", 5)) == "https://models.example/targets/a/1.0.0/d1.manifest.json"
    assert trusted.blob_url("e2") == "https://models.example/blobs/sha256/e2"


def test_nothing_new_fetches_only_the_next_root_and_the_timestamp(device: Device, site: Site) -> None:
    device.versions()
    site.requests.clear()
    assert device.versions() == ["1.0.0"]
    assert site.requests == ["metadata/2.root.json", "metadata/timestamp.json"]


@pytest.mark.parametrize("role", ROLES)
def test_a_rotated_key_is_followed(device: Device, repository: TufRepository, role: str) -> None:
    device.versions()
    if role == "root":
        old = repository.signers["root"]
        for signer in old[:2]:
            repository.root.revoke_key(signer.public_key.keyid, "root")
        new = [tuf_repository.new_key() for _ in range(2)]
        for signer in new:
            repository.root.add_key(signer.public_key, "root")
        repository.signers["root"] = [*old, *new]
        repository.publish("root")
        repository.signers["root"] = [old[2], *new]
        repository.publish("root")
    else:
        repository.rotate(role)
    repository.add("people", "1.1.0")
    repository.publish()
    assert device.versions() == ["1.0.0", "1.1.0"]


def test_another_root_or_address_is_trusted_anew(device: Device, tmp_path: Path) -> None:
    device.versions()
    other_site = Site()
    other = TufRepository(other_site)
    other.add("people", "0.9.0")
    other.publish("targets", "snapshot", "timestamp")
    with serving(other_site) as url:
        elsewhere = Device(url, other.write_root(tmp_path / "other.json"), device.state)
        assert elsewhere.versions() == ["0.9.0"]
    assert len(list(device.state.iterdir())) == 2


# Attacks


def test_a_bad_signature_is_untrusted(device: Device, repository: TufRepository, site: Site) -> None:
    device.versions()
    repository.publish("timestamp")
    metadata = Metadata.from_bytes(site.files["metadata/timestamp.json"])
    next(iter(metadata.signatures.values())).signature = "b6" * 64
    repository.put("timestamp", metadata.to_bytes())
    assert "timestamp was signed by 0/1 keys" in device.refused(TrustError, "untrusted")


def test_a_bad_hash_is_untrusted(device: Device, repository: TufRepository, site: Site) -> None:
    repository.publish(hashes=True)
    repository.put("targets", site.files[repository.path("targets")] + b" ")
    repository.publish("snapshot", "timestamp")
    device.refused(DownloadError, "network")  # longer than was signed
    body = site.files[repository.path("targets")]
    repository.put("targets", body[:-1].replace(b"1.0.0", b"9.0.0"))
    assert "hash" in device.refused(TrustError, "untrusted")


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_a_rollback_is_untrusted(device: Device, repository: TufRepository, site: Site, role: str) -> None:
    before = dict(site.files)
    repository.publish()
    device.versions()
    if role == "timestamp":
        site.files["metadata/timestamp.json"] = before["metadata/timestamp.json"]
    elif role == "snapshot":
        repository.timestamp.snapshot_meta.version -= 1
        repository.publish("timestamp")
    else:
        repository.snapshot.meta["targets.json"].version -= 1
        repository.publish("snapshot", "timestamp")
    device.refused(TrustError, "untrusted")
    assert device.repository().known()


def test_a_freeze_is_refused_once_it_has_expired(device: Device, repository: TufRepository, site: Site) -> None:
    frozen = dict(site.files)
    device.versions()
    repository.now = device.now = NOW + timedelta(days=8)
    repository.publish()
    site.files = frozen
    assert "timestamp.json is expired" in device.refused(TrustError, "metadata_expired")


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_a_mix_of_old_and_new_is_untrusted(device: Device, repository: TufRepository, site: Site, role: str) -> None:
    old = site.files[repository.path(role)]
    repository.publish()
    repository.put(role, old)
    device.refused(TrustError, "untrusted")


@pytest.mark.parametrize("role", ["snapshot", "timestamp"])
def test_a_fast_forward_is_undone_by_a_new_key(device: Device, repository: TufRepository, role: str) -> None:
    signed = repository.signed(role)
    signed.version = 1000
    repository.publish(*(["snapshot", "timestamp"] if role == "snapshot" else [role]))
    device.versions()
    signed.version = 10
    repository.publish(*(["snapshot", "timestamp"] if role == "snapshot" else [role]))
    device.refused(TrustError, "untrusted")
    repository.rotate(role)
    repository.rotate("timestamp")
    repository.publish("snapshot", "timestamp")
    assert device.versions() == ["1.0.0"]


@pytest.mark.parametrize("role", ROLES)
def test_expired_metadata_are_refused(device: Device, repository: TufRepository, role: str) -> None:
    repository.now = NOW - timedelta(days=400)
    repository.publish(*([role, "snapshot", "timestamp"] if role == "targets" else [role]))
    repository.now = NOW
    repository.publish(*{"targets": ["snapshot", "timestamp"], "snapshot": ["timestamp"]}.get(role, []) or ["snapshot"])
    message = device.refused(TrustError, "metadata_expired")
    assert f"{role} is expired" in message or f"{role}.json is expired" in message
    assert "edge-fleet refresh" in message


def test_a_root_that_its_predecessor_does_not_sign_is_untrusted(device: Device, repository: TufRepository) -> None:
    for signer in repository.signers["root"]:
        repository.root.revoke_key(signer.public_key.keyid, "root")
    repository.signers["root"] = [tuf_repository.new_key() for _ in range(2)]
    for signer in repository.signers["root"]:
        repository.root.add_key(signer.public_key, "root")
    repository.publish("root")
    assert "root was signed by 0/2 keys" in device.refused(TrustError, "untrusted")


def test_a_threshold_that_is_not_met_is_untrusted(device: Device, repository: TufRepository) -> None:
    repository.signers["root"] = repository.signers["root"][:1]
    repository.publish("root")
    assert "root was signed by 1/2 keys" in device.refused(TrustError, "untrusted")


def test_metadata_that_are_none_are_untrusted(device: Device, repository: TufRepository) -> None:
    for data in (b"", b"<html>", b"[" * 10_000, b'{"signed": {}, "signatures": []}'):
        repository.put("timestamp", data)
        device.refused(TrustError, "untrusted")


def test_a_trusted_root_that_is_none_is_untrusted(device: Device, site: Site) -> None:
    device.root.write_bytes(b"{}")
    device.refused(TrustError, "untrusted")
    device.root.unlink()
    assert "root.json: the trusted root cannot be read" in device.refused(TrustError, "untrusted")
    assert site.requests == []


# The network


@pytest.mark.parametrize(
    ("path", "fault", "words"),
    [
        ("timestamp.json", answers(404), "timestamp.json: the server answers 404"),
        ("timestamp.json", answers(500), "answers 500"),
        ("2.root.json", answers(500), "answers 500"),
        ("2.snapshot.json", answers(404), "answers 404"),
        ("timestamp.json", tuf_repository.endless, "exceeding"),
        ("2.root.json", tuf_repository.endless, "exceeding"),
        ("2.targets.json", tuf_repository.cut, "too early"),
    ],
)
def test_a_server_that_fails(device: Device, site: Site, path: str, fault: Fault, words: str) -> None:
    site.faults[f"metadata/{path}"] = fault
    assert words in device.refused(DownloadError, "network")
    site.faults.clear()
    assert device.versions() == ["1.0.0"]


@pytest.mark.parametrize(
    ("fault", "limits", "start_s", "words"),
    [
        (tuf_repository.silent, FetchLimits(timeout_s=0.3, total_s=60), START_S, "nothing came for 0.3 s"),
        (tuf_repository.dribbling, FetchLimits(min_bytes_per_s=1000, window_s=0.3, total_s=60), START_S, "fewer than 1000 bytes/s"),
        (tuf_repository.dribbling, FetchLimits(min_bytes_per_s=0, total_s=0.5), START_S, "not here after 0.5 s"),
        (tuf_repository.dribbling_headers, FetchLimits(total_s=2), 0, "not here after 2 s"),
    ],
    ids=["silent", "slow", "too long", "hanging"],
)
def test_a_server_that_is_slow(device: Device, site: Site, fault: Fault, limits: FetchLimits, start_s: float, words: str) -> None:
    site.faults["metadata/timestamp.json"] = fault
    device.limits, device.start_s = limits, start_s
    assert words in device.refused(DownloadError, "too_slow")
    site.faults.clear()
    device.limits, device.start_s = LIMITS, START_S
    assert device.versions() == ["1.0.0"]


def test_no_server(device: Device) -> None:
    device.url = "http://127.0.0.1:9"
    assert "Connection refused" in device.refused(DownloadError, "network")


@pytest.mark.parametrize("url", ["file:///etc", "ftp://127.0.0.1:9", "nothing"])
def test_other_schemes_are_not_followed(device: Device, url: str) -> None:
    device.url = url
    device.refused(DownloadError, "network")


def test_https_with_a_certificate_that_is_trusted_and_with_one_that_is_not(
    device: Device, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "certificates").mkdir()
    authority = Authority(tmp_path / "certificates")
    elsewhere = f"{device.url}/metadata/timestamp.json"
    secure = https_server.Site({f"/{path}": data for path, data in site.files.items()}, {"/metadata/timestamp.json": elsewhere})
    with https_server.serving(secure, authority.issue("server")) as device.url:
        assert "certificate" in device.refused(DownloadError, "network")
        for name, value in https_server.trusting(authority.cert).items():
            monkeypatch.setenv(name, value)
        assert device.versions() == ["1.0.0"]
    assert site.requests == ["metadata/timestamp.json"]


def test_a_check_can_be_cancelled(device: Device, site: Site) -> None:
    site.faults["metadata/timestamp.json"] = tuf_repository.silent
    with pytest.raises(DownloadError, match="cancelled"):
        device.repository().refresh(lambda: "metadata/timestamp.json" in site.requests)


def test_a_check_that_waits_for_anothers_can_be_cancelled(device: Device, site: Site) -> None:
    site.faults["metadata/timestamp.json"] = tuf_repository.silent
    trusted, over = device.repository(), threading.Event()

    def first() -> None:
        with pytest.raises(DownloadError, match="cancelled"):
            trusted.refresh(over.is_set)

    thread = threading.Thread(target=first)
    thread.start()
    wait_until(lambda: bool(site.requests), "the first check is under way")
    with pytest.raises(DownloadError, match="cancelled"):
        trusted.refresh(lambda: True)
    assert thread.is_alive()
    over.set()
    thread.join()
    assert len(site.requests) == 2


def test_a_check_whose_process_dies_fails_cleanly(device: Device, site: Site) -> None:
    """As when the kernel ends it for want of memory."""

    def kill(_handler: Handler, _body: bytes) -> None:
        (child,) = (pid for pid in children(os.getpid()) if b"trust_child" in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(child, signal.SIGKILL)

    site.faults["metadata/timestamp.json"] = kill
    assert "ended with status -9" in device.refused(TrustError, "untrusted")


# Time


def test_a_clock_in_1970_still_sees_what_is_published(device: Device) -> None:
    device.now, device.synced = IN_1970, False
    assert device.versions() == ["1.0.0"]


@pytest.mark.parametrize(("synced", "code"), [(False, "clock"), (True, "metadata_expired")])
def test_a_clock_in_2045_sees_expired_metadata(device: Device, synced: bool, code: str) -> None:
    device.now, device.synced = IN_2045, synced
    device.refused(TrustError, code)
    device.now = NOW
    assert device.versions() == ["1.0.0"]


@pytest.mark.parametrize(("synced", "code"), [(False, "clock"), (True, "metadata_expired")])
def test_signed_time_is_a_floor_under_a_clock_in_1970(device: Device, repository: TufRepository, synced: bool, code: str) -> None:
    repository.vouch(NOW)
    repository.publish()
    repository.now = NOW + timedelta(days=5)
    repository.publish()
    device.now, device.synced = IN_1970, synced
    device.versions()
    repository.now = NOW - timedelta(days=10)  # it has expired at the floor, and not in 1970
    del repository.timestamp.unrecognized_fields["x-signed-at"]
    repository.publish("timestamp")
    device.refused(TrustError, code)


def test_signed_time_counts_at_once(device: Device, repository: TufRepository) -> None:
    """A snapshot that had expired when the timestamp was signed is refused, though the clock says 1970."""
    device.now = IN_1970
    repository.publish("snapshot")
    repository.now = NOW + timedelta(days=20)
    repository.vouch(NOW)
    repository.publish("timestamp")
    assert "snapshot.json is expired" in device.refused(TrustError, "metadata_expired")


def test_without_signed_time_there_is_no_floor(device: Device, repository: TufRepository) -> None:
    device.versions()
    device.now = IN_1970
    repository.now = NOW - timedelta(days=400)
    repository.publish()
    assert device.versions() == ["1.0.0"]


@pytest.mark.parametrize("text", ["2045-01-01", "2045-13-01T00:00:00Z", "2045-01-01T00:00:00+00:00", "tomorrow", "", 5])
def test_signed_time_that_is_none_is_ignored(device: Device, repository: TufRepository, text: object) -> None:
    repository.timestamp.version += 1
    repository.timestamp.unrecognized_fields["x-signed-at"] = text
    metadata = Metadata(repository.timestamp)
    metadata.sign(repository.signers["timestamp"][0])
    repository.put("timestamp", metadata.to_bytes())
    assert device.versions() == ["1.0.0"]


def test_a_floor_in_2045_falls_with_the_key_that_signed_it(device: Device, repository: TufRepository) -> None:
    repository.now = IN_2045
    repository.vouch(NOW)
    repository.publish(*ROLES)
    device.versions()
    repository.now = NOW
    repository.publish(*ROLES)
    device.refused(TrustError, "metadata_expired")
    repository.rotate("timestamp")
    repository.publish()
    assert device.versions() == ["1.0.0"]


# The disk


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:0], lambda data: data[: len(data) // 2], lambda data: bytes(len(data))],
    ids=["emptied", "torn", "zeroed"],
)
def test_torn_metadata_are_fetched_anew(device: Device, repository: TufRepository, damage: Callable[[bytes], bytes]) -> None:
    repository.publish("root")
    repository.vouch(NOW)
    repository.publish()
    listing = device.repository().refresh()
    files = device.metadata()
    assert {path.name for path in files} == {
        "1.root.json",
        "2.root.json",
        "timestamp.json",
        "snapshot.json",
        "targets.json",
        "floor",
    }
    for path in files:
        path.write_bytes(damage(path.read_bytes()))
    assert device.repository().refresh() == listing
    for path in device.state.glob("*/listing.json"):
        path.write_bytes(damage(path.read_bytes()))
    assert device.repository().known() is None
    assert device.repository().refresh() == device.repository().known()


def test_a_folder_that_cannot_be_written_is_a_disk_error(device: Device) -> None:
    device.state.write_text("a file")
    assert str(device.state) in device.refused(StorageError, "disk_error")


@pytest.mark.parametrize(
    "name", ["metadata/root_history/1.root.json", "metadata/timestamp.json", "metadata/targets.json", "listing.json"]
)
def test_a_full_disk_is_told_and_recovered_from(device: Device, repository: TufRepository, name: str) -> None:
    device.versions()
    (file,) = device.state.glob(f"*/{name}")
    file.unlink()
    part = file.with_name(f"{file.name}.part")
    part.symlink_to("/dev/full")
    repository.publish()
    assert "No space left" in device.refused(StorageError, "disk_full")
    part.unlink()
    assert device.versions() == ["1.0.0"]


# The agent


def test_tuf_is_not_in_the_agents_process() -> None:
    code = (
        "import sys; import agent.bundles.trust; print([m for m in sys.modules if m.split('.')[0] in ('tuf', 'securesystemslib')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
