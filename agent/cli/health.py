"""edge-agent health: does the agent on this computer live, and do its pipelines give results?"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from agent.device import state_dir
from agent.health.heartbeat import last_beat

if TYPE_CHECKING:
    from argparse import _SubParsersAction

OLD_S = 150.0  # the agent reports at least every 60 s
EXAMPLES = """examples:
  edge-agent health
  edge-agent health --state-dir /data/edge-agent     where the config says state_dir

It prints what the agent reported last, as in the health message: ok, degraded (something is wrong) or failing (no pipeline can
give results). It starts no runtime and asks no broker, and is meant for a container's health check.

exit status: 0 ok or degraded, 1 failing, or no agent has reported for 150 s"""


def add_parser(verbs: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "health",
        help="how the agent on this computer is",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--state-dir", type=Path, metavar="DIR", help="the agent's state_dir, where its config gives one")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the agent's status; 1 where it is failing, or there is no agent."""
    folder = args.state_dir or state_dir()
    beat = last_beat(folder)
    if beat is None:
        print(f"edge-agent: no agent runs with its state in {folder}; for another folder, say --state-dir DIR", file=sys.stderr)
        return 1
    if beat.age_s > OLD_S:
        print(f"edge-agent: the agent has not reported for {beat.age_s:.0f} s; it was {beat.status} then", file=sys.stderr)
        return 1
    print(f"{beat.status}, reported {beat.age_s:.0f} s ago")
    return 1 if beat.status == "failing" else 0
