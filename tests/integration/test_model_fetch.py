"""edge-agent model fetch against a server on this computer, as a person calls it."""

import fcntl
import hashlib
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.bundles.catalog import BUILT_IN, read_catalog
from tests.agent_process import COMMAND, lines_of
from tests.certificates import Authority
from tests.https_server import Site, serving, trusting
from tests.models import Found, write_tflite, yolo
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
# a picture, and what each model of the catalog sees in it
SEEN = {
    "mobilenet-v1-050-160": ("cat.bmp", "Egyptian cat 0.[5-9]"),
    "mobilenet-v2-224": ("cat.bmp", "Egyptian cat 0.[7-9]"),
    "ssd-mobilenet-v1": ("cat.bmp", "cat 0.7"),
    "yolox-nano": ("bus.jpg", "bus 0.[89]"),
    "ultraface-rfb-320": ("zidane.jpg", r"face 1\.00.*face 0\.9"),
    "deeplabv3-mobilenet-v2": ("bird_segmentation.bmp", "bird 1[67]"),
}


class Shop:
    """A catalog of one's own, the server that has its files, and the command line."""

    def __init__(self, folder: Path, site: Site, root: str, ca: Path) -> None:
        self.folder = folder
        self.site = site
        self.root = root
        self.env = {**os.environ, **trusting(ca), "XDG_STATE_HOME": str(folder / "state")}

    def catalog(self, *paths: str, **changes: Any) -> Path:
        """A model `people` whose files are those of the site, with `changes` to its entry."""
        files = {path.strip("/"): self.site.files[path] for path in paths or self.site.files}
        entry = {
            "about": "people",
            "license": "MIT",
            "task": "detect",
            "labels": ["person", "car"],
            "files": {name: remote(f"{self.root}/{name}", body) for name, body in files.items()},
            "bundle": {"version": "1.2.0", "model": next(iter(files))},
            **changes,
        }
        path = self.folder / "catalog.yaml"
        path.write_text(yaml.safe_dump({"models": {"people": entry}}))
        return path

    def command(self, *arguments: str | Path) -> list[str]:
        return [*COMMAND, "model", "fetch", *map(str, arguments), "--catalog", str(self.folder / "catalog.yaml")]

    def fetch(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = self.command(*arguments)
        return subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False, timeout=60)


def remote(url: str, body: bytes) -> dict[str, Any]:
    return {"url": url, "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    model = write_tflite(tmp_path / "people.tflite", [yolo([Found((8, 8, 24, 24))], normalized=True)]).read_bytes()
    (tmp_path / "people.tflite").unlink()
    (tmp_path / "certificates").mkdir()
    authority = Authority(tmp_path / "certificates")
    site = Site(files={"/people.tflite": model + bytes(1 << 20)})
    with serving(site, authority.issue("server")) as root:
        yield Shop(tmp_path, site, root, authority.cert)


def test_a_model_becomes_a_bundle_that_works(shop: Shop) -> None:
    shop.catalog()
    run = shop.fetch("people", "--output", "bundles/people")
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines() == [
        "wrote bundles/people: bundle.yaml, labels.txt, people.tflite; licence MIT",
        "try it: edge-agent predict bundles/people PICTURE",
    ]
    written = yaml.safe_load((shop.folder / "bundles/people/bundle.yaml").read_text())
    assert written == {
        "name": "people",
        "license": "MIT",
        "task": "detect",
        "labels": "labels.txt",
        "version": "1.2.0",
        "model": "people.tflite",
        "provenance": {"people.tflite": f"{shop.root}/people.tflite"},
    }
    assert not (shop.folder / "bundles/people.part").exists()
    shown = subprocess.run(
        [*COMMAND, "model", "show", "bundles/people"], cwd=shop.folder, capture_output=True, text=True, check=True
    )
    assert "labels      2: person, car" in shown.stdout


def test_what_fails_leaves_no_bundle_and_can_be_given_again(shop: Shop) -> None:
    shop.catalog()
    shop.site.cut_after = 1 << 19
    run = shop.fetch("people")
    assert run.returncode == 1
    (line,) = lines_of(run)
    assert line.startswith(f"edge-agent: {shop.root}/people.tflite: ")
    assert "524288 of" in line
    assert not (shop.folder / "people").exists()
    shop.site.cut_after = None
    assert shop.fetch("people").returncode == 0
    assert [wanted for _, wanted in shop.site.requests] == [None, "bytes=524288-"]


def test_ctrl_c_leaves_what_is_there(shop: Shop) -> None:
    shop.catalog()
    shop.site.stall_after = 1 << 19
    with subprocess.Popen(shop.command("people"), cwd=shop.folder, env=shop.env, stderr=subprocess.PIPE, text=True) as process:
        part = shop.folder / "people.part/people.tflite.part"
        wait_until(lambda: part.exists() and part.stat().st_size > 0, "the first bytes")
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 130
    assert not (shop.folder / "people").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bundle": {"version": "1.2.0", "model": "other.tflite"}}, "people.part/bundle.yaml: there is no other.tflite beside it"),
        ({"bundle": {"version": "1.2.0", "modl": "x"}}, "people.part/bundle.yaml:6: modl: unknown key; did you mean model?"),
        ({"about": 1}, "models.people.about: expected text, got 1"),
        ({"files": {"../x": remote("https://h/x", b"x")}}, 'models.people.files."../x": expected a file\'s name of letters'),
        ({"files": {"x": remote("http://h/x", b"x")}}, "models.people.files.x.url: expected an address that begins with https://"),
    ],
)
def test_a_catalog_that_is_wrong(shop: Shop, changes: dict[str, Any], said: str) -> None:
    shop.catalog(**changes)
    run = shop.fetch("people")
    assert run.returncode == 1
    assert said in run.stderr
    assert "Traceback" not in run.stderr
    assert not (shop.folder / "people").exists()


def test_wrong_usage(shop: Shop) -> None:
    shop.catalog()
    (shop.folder / "there").mkdir()
    for arguments, said in [
        (["peopel"], "the catalog has no peopel; did you mean people?"),
        (["xyz"], "the catalog has no xyz; model fetch lists what it has"),
        (["people", "--output", "there"], "there: it is there already; say --output DIR for another folder"),
        (["--output", "there"], "--output: which model? model fetch without a name lists them"),
    ]:
        run = shop.fetch(*arguments)
        assert (run.returncode, lines_of(run)) == (2, [f"edge-agent: {said}"])
    (shop.folder / "catalog.yaml").unlink()
    assert shop.fetch("people").returncode == 2
    assert shop.site.requests == []


def test_a_folder_that_cannot_be_written(shop: Shop) -> None:
    shop.catalog()
    (shop.folder / "people.part").write_text("a file")
    run = shop.fetch("people")
    assert (run.returncode, lines_of(run)) == (1, ["edge-agent: people: it cannot be written: File exists"])


def test_the_bar_at_a_terminal(shop: Shop) -> None:
    shop.catalog()
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with subprocess.Popen(shop.command("people"), cwd=shop.folder, env=shop.env, stdout=subprocess.DEVNULL, stderr=theirs):
        os.close(theirs)
        shown = b"".join(iter(lambda: _read(ours), b"")).decode()
    os.close(ours)
    drawn = shown.replace("\r\n", "").split("\r")
    assert drawn[1].startswith("people.tflite  [..............................]    ")
    assert drawn[-1] == f"people.tflite  [{'#' * 30}]  100 % of 1.0 MiB"
    assert shown.endswith("\r\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # the other end is closed
        return b""


def test_the_list() -> None:
    run = subprocess.run([*COMMAND, "model", "fetch"], capture_output=True, text=True, check=True, timeout=60)
    catalog = read_catalog(BUILT_IN)
    lines = run.stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(catalog)
    for line, entry in zip(lines, catalog.values(), strict=True):
        assert entry.license in line
        assert entry.task in line


def test_the_catalog_is_where_people_look_for_it() -> None:
    assert (ROOT / "models/catalog.yaml").samefile(BUILT_IN)


@pytest.mark.parametrize("name", read_catalog(BUILT_IN))
def test_each_model_of_the_catalog(name: str, data: Path, shop: Shop) -> None:
    """The same bytes from here: the catalog's SHA-256 and bundle are those of the real file."""
    entry = read_catalog(BUILT_IN)[name]
    known = {
        hashlib.sha256(path.read_bytes()).hexdigest(): path
        for path in data.rglob("*")
        if path.stat().st_size < 1 << 23 and path.is_file()
    }
    for file_name, file in entry.files.items():
        if file.sha256 not in known:
            pytest.skip(f"no file of {data} is {file_name} of {name}")
    shop.site.files = {f"/{file_name}": known[file.sha256].read_bytes() for file_name, file in entry.files.items()}
    shop.catalog(license=entry.license, task=entry.task, labels=entry.labels, bundle=entry.bundle)
    run = shop.fetch("people", "--output", "bundle")
    assert (run.returncode, run.stderr) == (0, "")
    picture, expected = SEEN[name]
    command = [*COMMAND, "predict", "bundle", str(data / "images" / picture)]
    seen = subprocess.run(command, cwd=shop.folder, capture_output=True, text=True, check=True, timeout=120).stdout
    assert re.search(expected, seen), seen


def test_an_installed_package_has_the_catalog(tmp_path: Path) -> None:
    """Not an editable one: a wheel, unpacked where nothing of the source tree is near."""
    source = tmp_path / "source"
    shutil.copytree(ROOT / "agent", source / "agent")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(wheel), str(tmp_path / "site")], check=True)
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    command = [sys.executable, "-m", "agent.cli.main", "model", "fetch"]
    run = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True, timeout=60)
    assert "ssd-mobilenet-v1" in run.stdout
