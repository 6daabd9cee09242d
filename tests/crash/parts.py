"""Parts of the agent that write to its state folder, each as a program: `python -m tests.crash.parts PART FOLDER ARGUMENT...`."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from agent.errors import AgentError, DownloadError


def session(folder: Path) -> None:
    """A start of the agent."""
    from agent.pipeline.session import next_session  # noqa: PLC0415  a program imports its own part alone

    next_session(folder)


def download(folder: Path, url: str, size: str, sha256: str) -> None:
    """A file; tried once more where a later try may succeed, as a person is told to."""
    from agent.bundles import download  # noqa: PLC0415  as above

    try:
        download.download(url, folder / "file", int(size), sha256, lambda _: None)
    except DownloadError:
        download.download(url, folder / "file", int(size), sha256, lambda _: None)


def store(folder: Path, url: str, length: str, digest: str) -> None:
    """A bundle in the place of the one that a slot serves: fetched, checked, pointed at; then what is no longer needed goes."""
    from agent.bundles.store import Store  # noqa: PLC0415  as above
    from agent.update.journal import Active, Ref, SlotFiles  # noqa: PLC0415  as above

    bundles = Store(folder, 0)
    slot = SlotFiles(folder / "models" / "main")
    if (active := slot.active()) and active.current:
        bundles.open(active.current.digest)
    for blob in bundles.add_manifest(bundles.fetch_bytes(f"{url}/manifest", int(length), digest), digest, "repository"):
        bundles.fetch(blob, f"{url}/{blob.sha256}", lambda _: None)
    bundles.verify(digest)
    published = bundles.open(digest)[0]
    slot.write(Active(factory="", current=Ref(name=published.name, version=published.version, digest=digest, origin="store")))
    bundles.collect([digest])


def trust(folder: Path, url: str, root: str) -> None:
    """A check of what the repository has."""
    from agent.bundles.trust import Repository  # noqa: PLC0415  as above

    Repository(url, Path(root), folder / "trust", clock_synced=lambda: True).refresh()


PARTS: Mapping[str, Callable[..., None]] = {"session": session, "download": download, "store": store, "trust": trust}


def main(part: str, folder: Path, *arguments: str) -> None:
    """One line and status 1 where it fails, as the command line has it."""
    try:
        PARTS[part](folder, *arguments)
    except (AgentError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
