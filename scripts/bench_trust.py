#!/usr/bin/env python3
"""What trust costs: checks of a repository of bundles, served on this computer over plain HTTP.

usage: scripts/bench_trust.py [--bundles N] [--rounds N]

Prints medians over the rounds: wall-clock and CPU time of a child that starts and finds no server, of a first refresh, and of one
with nothing new; the bytes of the files that these fetch; the largest memory that a child had; the agent's own memory before the
first check and after the last, and whether TUF is in it. This process has only what the agent's would have of it.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import IO, NamedTuple, cast

from agent.bundles.trust import Repository
from agent.errors import DownloadError

ROOT = Path(__file__).parents[1]
NO_SERVER = "http://127.0.0.1:9"


class Cost(NamedTuple):
    """Of one check, or a median."""

    wall_ms: float
    cpu_ms: float


def serve(folder: Path, bundles: int) -> None:
    """Publish, write root.json, say the address on stdout; then, a line a line of stdin, the bytes served since the last one."""
    from datetime import UTC, datetime  # noqa: PLC0415  the measuring process does without what is imported here

    from tests.tuf_repository import Site, TufRepository, serving  # noqa: PLC0415  as above

    site = Site()
    repository = TufRepository(site, datetime.now(UTC))
    for i in range(bundles):
        repository.add(f"bundle-{i % 20}", f"1.{i // 20}.0")
    repository.vouch(repository.now)
    repository.publish()
    repository.write_root(folder / "root.json")
    with serving(site) as url:
        sys.stdout.write(f"{url}\n")
        sys.stdout.flush()
        for _ in sys.stdin:
            sys.stdout.write(f"{sum(len(site.files.get(path, b'')) for path in site.requests)}\n")
            sys.stdout.flush()
            site.requests.clear()


def cost(check: Callable[[], object]) -> Cost:
    """Of a check, its child included."""
    before, since = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    check()
    wall_s, after = time.perf_counter() - since, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(1e3 * wall_s, 1e3 * (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime))


def own_memory_kb() -> int:
    """Private, written memory of this process."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:"))


def starting(repository: Repository) -> None:
    """A check that ends at the first connection."""
    try:
        repository.refresh()
    except DownloadError:
        return
    sys.exit("there is a server where none should be")


class Server:
    """The server's process."""

    def __init__(self, folder: Path, bundles: int) -> None:
        command = [sys.executable, __file__, "--serve", str(folder), "--bundles", str(bundles)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self._stdin = cast("IO[str]", self.process.stdin)  # pipes, see above
        self._stdout = cast("IO[str]", self.process.stdout)
        self.url = self._stdout.readline().strip()

    def served_bytes(self) -> int:
        """Since the last call."""
        self._stdin.write("\n")
        self._stdin.flush()
        return int(self._stdout.readline())


def measure(server: Server, folder: Path, rounds: int) -> None:
    """Print all figures."""
    root = folder / "root.json"
    costs: dict[str, list[Cost]] = {"start": [], "first refresh": [], "nothing new": []}
    fetched = dict.fromkeys(costs, 0)
    before_kb = own_memory_kb()
    for i in range(rounds):
        nowhere = Repository(NO_SERVER, root, folder / f"nowhere{i}", clock_synced=lambda: True)
        costs["start"].append(cost(partial(starting, nowhere)))
        repository = Repository(server.url, root, folder / f"trust{i}", clock_synced=lambda: True)
        for name in ("first refresh", "nothing new"):
            costs[name].append(cost(repository.refresh))
            fetched[name] = server.served_bytes()
    after_kb = own_memory_kb()
    child_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # the server has not ended yet
    resident = any(name.split(".")[0] in ("tuf", "securesystemslib") for name in sys.modules)
    print(f"medians of {rounds} rounds")
    for name, each in costs.items():
        wall_ms, cpu_ms = median(c.wall_ms for c in each), median(c.cpu_ms for c in each)
        print(f"{name:14} {wall_ms:5.0f} ms  {cpu_ms:5.0f} ms CPU  {fetched[name]:7} bytes")
    print(f"a child's peak {child_mb:.1f} MB; the agent's own {before_kb} kB before, {after_kb} kB after")
    print(f"TUF in the agent: {'yes' if resident else 'no'}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What trust costs.")
    parser.add_argument("--bundles", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, args.bundles)
        return
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder), args.bundles)
        try:
            measure(server, Path(folder), args.rounds)
        finally:
            server.process.communicate()


if __name__ == "__main__":
    main()
