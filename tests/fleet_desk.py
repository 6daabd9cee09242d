"""An operator's desk: a repository, its keys and edge-fleet's command line, and a web server for the repository."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from agent.fleet.repository import FleetRepository
from tests.models import Found, write_onnx, yolo

COMMAND = [sys.executable, "-W", "error", "-m", "agent.fleet.main"]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name in the base class
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = False


@contextmanager
def served(folder: Path) -> Iterator[str]:
    with _Server(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


class Desk:
    """A repository, its keys, and the command line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repo = folder / "models"
        self.keys = folder / "models.keys"

    def try_(
        self, *words: str | Path, under: Sequence[str] = (), env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "EDGE_FLEET_REPO": str(self.repo), **(env or {})}
        return subprocess.run(
            [*under, *COMMAND, *map(str, words)], capture_output=True, text=True, check=False, timeout=120, env=environment
        )

    def say(self, *words: str | Path, env: Mapping[str, str] | None = None) -> str:
        done = self.try_(*words, env=env)
        assert (done.returncode, done.stderr) == (0, ""), f"{done.stdout}{done.stderr}"
        return done.stdout

    def refused(self, *words: str | Path, status: int = 1, env: Mapping[str, str] | None = None) -> str:
        done = self.try_(*words, env=env)
        assert done.returncode == status
        assert len(done.stderr.splitlines()) == 1, done.stderr
        return done.stderr

    def bundle(self, version: str = "1.0.0", score: float = 0.9) -> Path:
        folder = self.folder / f"people-{version}-{score}"
        folder.mkdir(exist_ok=True)
        write_onnx(folder / "model.onnx", [yolo([Found((8, 8, 24, 24), score=score)], normalized=False)])
        (folder / "labels.txt").write_text("person\ncar\n")
        (folder / "bundle.yaml").write_text(
            f'name: people\nversion: "{version}"\nmodel: model.onnx\nlabels: labels.txt\nhead: {{type: yolo, box: xywh_pixels}}\n'
        )
        return folder

    def ids(self, role: str) -> list[str]:
        """Of the keys that a role has."""
        return FleetRepository(self.repo).current().root.signed.roles[role].keyids

    @contextmanager
    def kept(self) -> Iterator[None]:
        """A context after which repository and keys are as they were before it."""
        pairs = [(folder, folder.with_suffix(f"{folder.suffix}.kept")) for folder in (self.repo, self.keys)]
        for folder, kept in pairs:
            shutil.copytree(folder, kept)
        yield
        for folder, kept in pairs:
            shutil.rmtree(folder)
            kept.rename(folder)

    def versions(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.repo / "metadata").iterdir()}
