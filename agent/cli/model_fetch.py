"""The verb `model fetch`: lists the catalog, or makes a bundle from what its addresses have."""

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from agent.bundles.catalog import BUILT_IN, Entry, fetch, read_catalog
from agent.checked import suggest
from agent.errors import OutputError, UsageError

BAR = 30
MIB = 1 << 20


def fetch_model(args: argparse.Namespace) -> int:
    """See `agent.cli.model`."""
    if args.catalog is not None and not args.catalog.is_file():
        raise UsageError(f"--catalog {args.catalog}: there is no such file")
    catalog = read_catalog(args.catalog or BUILT_IN)
    if args.name is None:
        if args.output is not None:
            raise UsageError("--output: which model? model fetch without a name lists them")
        print("\n".join(_listed(catalog)))
        return 0
    entry = catalog.get(args.name)
    if entry is None:
        raise UsageError(f"the catalog has no {args.name}{suggest(args.name, catalog) or '; model fetch lists what it has'}")
    folder = args.output or Path(args.name)
    if os.path.exists(folder):  # noqa: PTH110  Path.exists raises for a name that is too long
        raise UsageError(f"{folder}: it is there already; say --output DIR for another folder")
    bar = _Bar(entry)
    try:
        fetch(args.name, entry, folder, bar.show)
    except OSError as error:
        raise OutputError(f"{folder}: it cannot be written: {error.strerror}") from None
    finally:
        bar.end()
    print(f"wrote {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}; licence {entry.license}")
    print(f"try it: edge-agent predict {folder} PICTURE")
    return 0


def _listed(catalog: Mapping[str, Entry]) -> Iterator[str]:
    wide = max(len(name) for name in catalog) if catalog else 0
    for name, entry in catalog.items():
        yield f"{name:{wide}}  {entry.task:8}  {entry.size / MIB:5.1f} MiB  {entry.license:13}  {entry.about}"


class _Bar:
    """How far a download is: a line that is drawn again at a terminal, and elsewhere nothing."""

    def __init__(self, entry: Entry) -> None:
        self._sizes = {name: file.bytes for name, file in entry.files.items()}
        self._drawn = ""

    def show(self, name: str, done: int) -> None:
        """done: bytes of the file that are there."""
        size = self._sizes[name]
        filled = BAR * done // size
        line = f"{name}  [{'#' * filled}{'.' * (BAR - filled)}]  {100 * done // size:3} % of {size / MIB:.1f} MiB"
        if line == self._drawn or not sys.stderr.isatty():
            return
        if self._drawn and not self._drawn.startswith(f"{name} "):
            print(file=sys.stderr)
        print(f"\r{line}", end="", file=sys.stderr, flush=True)
        self._drawn = line

    def end(self) -> None:
        """Leave the line."""
        if self._drawn:
            print(file=sys.stderr)
