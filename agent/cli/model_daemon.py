"""The verbs of `model` that talk to the running agent: list, install, activate, rollback, verify."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from agent.checked import Name, Version, suggest
from agent.errors import UsageError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from agent.cli.daemon import Daemon
    from agent.publish.orders import Reported

VERIFY_S = 600.0
EXAMPLES = """examples:
  edge-agent model list
  edge-agent model install people@1.4.0
  edge-agent model install people@1.4.0 --slot gate --no-wait
  edge-agent model rollback

They talk to the agent that runs on this computer, and need its user or root. install and rollback follow what happens until the new
model has proven itself, which takes the probation's time; Ctrl-C ends only the watching.

exit status: 0 done, 1 it failed, or no agent runs, 2 wrong usage"""


def add_parsers(kinds: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add these verbs to `edge-agent model`."""

    def add(name: str, summary: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = kinds.add_parser(
            name, help=summary, description=summary, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.add_argument("--socket", type=Path, metavar="PATH", help="the agent's control socket, if it is not the usual one")
        return parser

    listed = add("list", "what the agent's model slots have, and what is in its store")
    listed.add_argument("--json", action="store_true", help="for programs")
    listed.set_defaults(run=list_models)
    for name, summary in (
        ("install", "give a slot a model of the repository, or of the store"),
        ("activate", "give a slot a model that is in the store already, without a network"),
    ):
        changed = add(name, summary)
        changed.add_argument("bundle", metavar="BUNDLE@VERSION", help="such as people@1.4.0")
        changed.add_argument("--force", action="store_true", help="even if it has failed here before")
        changed.set_defaults(run=install, op=name)
        _add_slot(changed)
    back = add("rollback", "give a slot the model that it had before")
    back.set_defaults(run=rollback)
    _add_slot(back)
    verified = add("verify", "read a model of the store again, and compare it with its digest")
    verified.add_argument("bundle", metavar="BUNDLE@VERSION", help="such as people@1.4.0")
    verified.set_defaults(run=verify)


def _add_slot(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--slot", metavar="SLOT", help="which; may be left out where there is one")
    parser.add_argument("--no-wait", action="store_true", help="do not follow what comes of it")


def list_models(args: argparse.Namespace) -> int:
    """Print slots and store."""
    from agent.cli.model_list import print_models  # noqa: PLC0415  show does without it

    with _daemon(args) as daemon:
        print_models(daemon, as_json=args.json)
    return 0


def install(args: argparse.Namespace) -> int:
    """Install or activate a bundle. ControlError where it fails."""
    name, version = _bundle(args.bundle)
    with _daemon(args) as daemon:
        slot, before = _slot(daemon, args.slot)
        daemon.ask(args.op, slot=slot, bundle=name, version=version, force=args.force)
        return _follow(daemon, slot, before, wait=not args.no_wait)


def rollback(args: argparse.Namespace) -> int:
    """Go back to the model before. ControlError where that fails."""
    with _daemon(args) as daemon:
        slot, before = _slot(daemon, args.slot)
        daemon.ask("rollback", slot=slot)
        return _follow(daemon, slot, before, wait=not args.no_wait)


def verify(args: argparse.Namespace) -> int:
    """Compare a stored bundle with its digest. ControlError where it differs."""
    name, version = _bundle(args.bundle)
    with _daemon(args) as daemon:
        digest = daemon.ask("verify", timeout_s=VERIFY_S, bundle=name, version=version)["digest"]
    print(f"{name}@{version} is whole: {digest}")
    return 0


def _daemon(args: argparse.Namespace) -> "Daemon":
    from agent.cli.daemon import Daemon  # noqa: PLC0415  as above

    return Daemon(args.socket)


def _follow(daemon: "Daemon", slot: str, before: "Reported", *, wait: bool) -> int:
    from agent.cli.model_follow import follow  # noqa: PLC0415  as above

    if wait:
        follow(daemon, slot, before)
    return 0


def _bundle(text: str) -> tuple[str, str]:
    name, _, version = text.partition("@")
    try:
        return msgspec.convert((name, version), tuple[Name, Version])
    except msgspec.ValidationError:
        raise UsageError(f"expected BUNDLE@VERSION, such as people@1.4.0, got {text}") from None


def _slot(daemon: "Daemon", wanted: str | None) -> tuple[str, "Reported"]:
    """Which slot is meant, and what it has now."""
    slots = daemon.listing().slots
    if wanted is None and len(slots) != 1:
        raise UsageError(f"which model slot? Say --slot SLOT; there is {', '.join(slots)}")
    slot = next(iter(slots)) if wanted is None else wanted
    if slot not in slots:
        raise UsageError(f"--slot {slot}: there is no such model slot{suggest(slot, slots) or '; there is ' + ', '.join(slots)}")
    return slot, slots[slot]
