"""The verb `model list`: what the running agent's slots have, and what is in its store."""

import json
from collections.abc import Sequence

from agent.cli.daemon import Daemon
from agent.publish.orders import BundleRef, CurrentBundle, Reported

NONE = "-"


def print_models(daemon: Daemon, *, as_json: bool) -> None:
    """See `agent.cli.model_daemon`."""
    if as_json:
        print(json.dumps(daemon.ask("list"), indent=2, ensure_ascii=False))
        return
    listing = daemon.listing()
    _table(
        ("SLOT", "STATE", "CURRENT", "PREVIOUS", "TARGET", "AVAILABLE"),
        [
            (name, stage(has), named(has.current), named(has.previous), named(has.target), named(has.available))
            for name, has in listing.slots.items()
        ],
    )
    for name, has in listing.slots.items():
        if has.error is not None:
            print(f"{name}: {has.error.code} in {has.error.phase}: {has.error.detail}")
    if listing.stored:
        print()
        _table(
            ("STORE", "DIGEST", "FROM", ""),
            [
                (f"{one.name}@{one.version}", one.digest[:12], one.origin, "" if one.complete else "incomplete")
                for one in listing.stored
            ],
        )


def named(bundle: BundleRef | None) -> str:
    """A bundle as people name it."""
    if bundle is None:
        return NONE
    withdrawn = isinstance(bundle, CurrentBundle) and bundle.withdrawn
    return f"{bundle.name}@{bundle.version}{' (withdrawn)' if withdrawn else ''}"


def stage(reported: Reported) -> str:
    """Where a deployment is: its state, how much of that is done, and what it waits for."""
    if reported.deferred is not None:
        return f"deferred ({reported.deferred})"
    return reported.state + ("" if reported.progress_pct is None else f" {reported.progress_pct:.0f} %")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for row in (heads, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
