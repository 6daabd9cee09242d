"""A repository as an operator keeps it with edge-fleet, seen by the TUF client of python-tuf over HTTP."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tuf.api.metadata import TargetFile
from tuf.ngclient import Updater

from agent.fleet.repository import FleetRepository
from tests.fleet_desk import COMMAND, Desk, served

ROLES = ("targets", "snapshot", "timestamp")


class Device:
    """A TUF client with the root of the day on which it was set up."""

    def __init__(self, desk: Desk, name: str) -> None:
        self.desk = desk
        self.folder = desk.folder / name
        self.folder.mkdir()
        self.root = (desk.repo / "metadata/1.root.json").read_bytes()

    def forget(self) -> None:
        """As if it came with an older state: none but its root."""
        shutil.rmtree(self.folder)
        self.folder.mkdir()

    def sees(self, version: str = "1.0.0") -> TargetFile | None:
        """Its entry, when the manifest and every file that it lists have been fetched and proven."""
        with served(self.desk.repo) as url:
            updater = Updater(str(self.folder), f"{url}/metadata", str(self.folder), f"{url}/targets", bootstrap=self.root)
            updater.refresh()
            target = updater.get_targetinfo(f"people/{version}/manifest.json")
            if target is not None:
                manifest = json.loads(Path(updater.download_target(target)).read_bytes())
                for entry in manifest["files"].values():
                    blob = TargetFile(entry["length"], {"sha256": entry["sha256"]}, entry["sha256"])
                    updater.config.prefix_targets_with_hash = False
                    updater.download_target(blob, str(self.folder / "blob"), f"{url}/blobs/sha256")
            return target


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.say("init", desk.repo)
    return desk


def test_devices_see_what_is_published(desk: Desk) -> None:
    device = Device(desk, "gate")
    assert device.sees() is None
    assert "published people@1.0.0" in desk.say("publish", desk.bundle())
    target = device.sees()
    assert target is not None
    (release,) = FleetRepository(desk.repo).releases()
    assert (release.name, release.version, release.digest) == ("people", "1.0.0", target.hashes["sha256"])
    assert (release.length, release.withdrawn) == (target.length, None)
    signed = json.loads((desk.repo / "metadata/timestamp.json").read_bytes())["signed"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", signed["x-signed-at"])
    assert "all is well" in desk.say("verify")


def test_a_version_never_changes(desk: Desk) -> None:
    desk.say("publish", desk.bundle())
    before = desk.versions()
    assert "nothing changed" in desk.say("publish", desk.bundle())
    assert "published with other bytes" in desk.refused("publish", desk.bundle(score=0.8))
    assert desk.versions() == before


def test_the_same_bytes_again_bring_back_a_lost_file(desk: Desk) -> None:
    desk.say("publish", desk.bundle())
    lost = next((desk.repo / "blobs/sha256").iterdir())
    lost.unlink()
    assert desk.try_("verify").returncode == 1
    desk.say("publish", desk.bundle())
    desk.say("verify")


def test_files_that_were_changed(desk: Desk) -> None:
    desk.say("publish", desk.bundle())
    blob = next((desk.repo / "blobs/sha256").iterdir())
    blob.write_bytes(b"other")
    assert f"{blob}: its bytes are not those that were published" in desk.refused("verify")
    (manifest,) = (desk.repo / "targets/people/1.0.0").iterdir()
    manifest.write_text('{"files": []}')
    assert f"{manifest}: its bytes are not those that were published" in desk.refused("verify")


def test_withdrawal(desk: Desk) -> None:
    device = Device(desk, "gate")
    desk.say("publish", desk.bundle())
    desk.say("withdraw", "people@1.0.0", "--reason", "blind at night")
    target = device.sees()
    assert target is not None
    assert target.custom == {"withdrawn": "blind at night"}
    assert "withdrawn: blind at night" in desk.say("verify")
    assert "--undo" in desk.say("publish", desk.bundle())
    desk.say("withdraw", "people@1.0.0", "--undo")
    target = device.sees()
    assert target is not None
    assert target.custom is None
    assert "did you mean people@1.0.0?" in desk.refused("withdraw", "people@1.0.1", "--reason", "x")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("lost", [False, True])
def test_an_old_root_follows_a_new_key(desk: Desk, role: str, lost: bool) -> None:
    old, visited = Device(desk, "old"), Device(desk, "visited")
    desk.say("publish", desk.bundle())
    assert visited.sees()
    if lost:
        (desk.keys / f"{role}-1.pem").unlink()
        assert f"{role}: 0 of its keys" in desk.refused("publish", desk.bundle("1.1.0"))
    desk.say("rotate", role)
    if not lost:
        (desk.keys / f"{role}-1.pem").unlink()
    desk.say("publish", desk.bundle("1.1.0"))
    assert old.sees("1.1.0")
    assert visited.sees("1.1.0")


def test_a_lost_root_key(desk: Desk) -> None:
    old = Device(desk, "old")
    ids = desk.ids("root")
    assert len(ids) == 3
    lost = desk.try_("rotate", "root", "--replace", "none").stderr
    assert "not the id of one key of root" in lost
    (desk.keys / "root-1.pem").unlink()
    desk.say("rotate", "root", "--replace", ids[0])
    (desk.keys / "root-2.pem").unlink()
    desk.say("rotate", "root", "--replace", ids[1])
    desk.say("rotate", "root", "--add", "2", "--threshold", "3")
    desk.say("publish", desk.bundle())
    assert old.sees()
    for path in [*desk.keys.glob("root-*.pem")][:3]:
        path.unlink()
    assert "root: 2 of its keys" in desk.refused("rotate", "timestamp")


def test_expiry_is_renewed_by_two_keys(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.say("init", desk.repo, "--timestamp-days", "2", "--snapshot-days", "10")
    for role in ("root", "targets"):
        for path in desk.keys.glob(f"{role}-*.pem"):
            path.rename(tmp_path / path.name)
    assert "nothing changed" in desk.say("refresh", "--if-expires-within", "1")
    said = desk.say("refresh", "--if-expires-within", "3")
    assert "timestamp version 2" in said
    assert "snapshot" not in said
    assert "snapshot  version 2" in desk.say("refresh")
    assert "root: 0 of its keys" in desk.refused("refresh", "--role", "root")
    assert "root      version 2" in desk.say("refresh", "--role", "root", "--keys", tmp_path, "--keys", desk.keys)
    desk.say("verify")


def test_keys_that_others_can_read(desk: Desk) -> None:
    path = desk.keys / "targets-1.pem"
    path.chmod(0o640)
    assert f"chmod 600 {path}" in desk.refused("publish", desk.bundle(), status=2)


def test_keys_in_the_environment(desk: Desk) -> None:
    texts = {f"EDGE_FLEET_{role.upper()}_KEY": (desk.keys / f"{role}-1.pem").read_text() for role in ROLES}
    desk.say("publish", desk.bundle(), "--keys", desk.folder / "none", env=texts)
    texts["EDGE_FLEET_TARGETS_KEY"] = "secret"
    said = desk.refused("publish", desk.bundle("2.0.0"), "--keys", desk.folder / "none", env=texts)
    assert "$EDGE_FLEET_TARGETS_KEY: expected a private key" in said


def test_encrypted_keys(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    right, wrong = {"EDGE_FLEET_PASSPHRASE": "correct horse"}, {"EDGE_FLEET_PASSPHRASE": "wrong"}
    desk.say("init", desk.repo, env=right)
    assert "ENCRYPTED" in (desk.keys / "root-1.pem").read_text()
    assert "it is encrypted" in desk.refused("publish", desk.bundle())
    assert "the passphrase is not" in desk.refused("publish", desk.bundle(), env=wrong)
    desk.say("publish", desk.bundle(), env=right)


def test_keys_are_never_published(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert "which is published" in desk.refused("init", desk.repo, "--keys", desk.repo / "keys", status=2)
    assert not desk.repo.exists()
    desk.say("init", desk.repo)
    (tmp_path / "link").symlink_to(desk.repo)
    assert "which is published" in desk.refused("publish", desk.bundle(), "--keys", tmp_path / "link/keys", status=2)
    assert {path.stat().st_mode & 0o777 for path in desk.keys.iterdir()} == {0o600}


def test_two_operators_at_once(desk: Desk) -> None:
    bundles = [desk.bundle(f"1.{n}.0") for n in range(4)]
    environment = {**os.environ, "EDGE_FLEET_REPO": str(desk.repo)}
    started = [subprocess.Popen([*COMMAND, "publish", bundle], env=environment, stdout=subprocess.PIPE) for bundle in bundles]
    assert [process.communicate(timeout=120) and process.returncode for process in started] == [0] * 4
    assert len(FleetRepository(desk.repo).releases()) == 4
    desk.say("verify")


class Killer:
    """Counts the system calls of a run of edge-fleet, and kills runs at one of them."""

    def __init__(self, desk: Desk, *calls: str) -> None:
        self._desk, self._calls = desk, calls
        self._trace = desk.folder / "trace"
        self._strace = ("strace", "-f", "-qq", "-o", str(self._trace), "-e", f"trace={','.join(calls)}")
        if desk.try_("--version", under=self._strace).returncode:
            pytest.skip("nothing can be traced here")

    def points(self, *words: str | Path) -> list[tuple[str, int]]:
        """Run it to its end: each system call, and which of its kind it is."""
        assert self._desk.try_(*words, under=self._strace).returncode == 0
        lines = self._trace.read_text().splitlines()
        return [(call, n) for call in self._calls for n in range(1, 1 + sum(f" {call}(" in line for line in lines))]

    def kill(self, point: tuple[str, int], *words: str | Path) -> None:
        """Run it until it is about to make this call."""
        call, n = point
        killed = self._desk.try_(*words, under=(*self._strace, "-e", f"inject={call}:signal=SIGKILL:when={n}"))
        assert killed.returncode != 0, point


def test_a_publish_killed_at_any_write_leaves_a_whole_repository(desk: Desk) -> None:
    killer = Killer(desk, "rename", "fsync")
    device = Device(desk, "gate")
    desk.say("publish", desk.bundle())
    points = killer.points("publish", desk.bundle("1.1.0", 0.8))
    assert len(points) >= 15
    for i, (call, n) in enumerate(points):
        bundle = desk.bundle(f"2.{i}.0", 0.5 + i / 100)
        killer.kill((call, n), "publish", bundle)
        assert device.sees("1.1.0"), (call, n)
        device.sees(f"2.{i}.0")  # it is there whole, or not at all
        desk.say("publish", bundle)
        assert device.sees(f"2.{i}.0"), (call, n)
    desk.say("verify")


@pytest.mark.parametrize(("role", "lost"), [("targets", True), ("timestamp", True), ("snapshot", False)])
def test_a_rotation_killed_between_any_two_writes_leaves_a_whole_repository(desk: Desk, role: str, lost: bool) -> None:
    killer = Killer(desk, "rename")
    old, visited = Device(desk, "old"), Device(desk, "visited")
    desk.say("publish", desk.bundle())
    (before,) = desk.ids(role)
    if lost:
        (desk.keys / f"{role}-1.pem").unlink()
    with desk.kept():
        points = killer.points("rotate", role)
    assert len(points) >= 3
    for point in points:
        with desk.kept():
            assert visited.sees()
            killer.kill(point, "rotate", role)
            assert old.sees(), point
            assert visited.sees(), point
            desk.say("rotate", role, *(("--remove", before) if len(desk.ids(role)) > 1 else ()))
            assert before not in desk.ids(role)
            assert old.sees(), point
            assert visited.sees(), point
        old.forget()
        visited.forget()


def test_a_refresh_killed_between_any_two_writes_leaves_a_whole_repository(desk: Desk) -> None:
    killer = Killer(desk, "rename")
    device = Device(desk, "gate")
    desk.say("publish", desk.bundle())
    words = ("refresh", *(word for role in ("root", *ROLES) for word in ("--role", role)))
    points = killer.points(*words)
    assert len(points) == 4
    for point in points:
        killer.kill(point, *words)
        assert device.sees(), point
        desk.say(*words)
        assert device.sees(), point
    desk.say("verify")


def test_many_bundles(desk: Desk) -> None:
    environment = dict(os.environ)
    program = (
        "import sys; from agent.fleet.main import main\n"
        "from pathlib import Path\n"
        "folder = Path(sys.argv[1]); text = (folder / 'bundle.yaml').read_text()\n"
        "for n in range(50):\n"
        "    (folder / 'bundle.yaml').write_text(text.replace('1.0.0', f'1.{n}.0'))\n"
        "    assert main(['publish', str(folder), '--repo', sys.argv[2]]) == 0\n"
    )
    words = [sys.executable, "-c", program, str(desk.bundle()), str(desk.repo)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, env=environment, timeout=300)
    assert len(FleetRepository(desk.repo).releases()) == 50
    assert len([*(desk.repo / "blobs/sha256").iterdir()]) == 2
    assert Device(desk, "gate").sees("1.49.0")


def test_bundle_check(desk: Desk) -> None:
    said = desk.say("bundle", "check", desk.bundle())
    assert "detect by yolo, 64x64, 2 labels" in said
    assert "lacking   golden" in said
    broken = desk.bundle("9.0.0")
    (broken / "labels.txt").write_text("person\n")
    assert "labels" in desk.refused("bundle", "check", broken)
