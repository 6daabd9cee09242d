"""edge-fleet: its verbs."""

import os
import sys
from collections.abc import Sequence

from agent.verbs import Program, run

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as for edge-agent

VERBS = {
    "init": "make a repository and its keys",
    "bundle": "check a bundle before it is published",
    "publish": "put a bundle into the repository",
    "withdraw": "stop installs of a version",
    "rotate": "change the keys of a role",
    "refresh": "sign anew what expires",
    "verify": "check every signature and file of the repository",
    "deploy": "give devices a bundle",
    "rollback": "take a deployment back, on every device that has it",
    "status": "what each device has, and how its deployment goes",
    "cmd": "have devices do something once",
    "forget": "clear what the broker keeps of a device",
}
EXAMPLES = """examples:
  edge-fleet init models                        a folder for a web server, and models.keys beside it
  edge-fleet publish people --repo models       devices can fetch it from now on
  edge-fleet withdraw people@1.3.0 --reason "misses people at night" --repo models
  edge-fleet deploy people@1.3.0 --slot people --select ring=canary --repo models --mqtt broker.example
  edge-fleet status --mqtt broker.example --watch

REPO is --repo, or $EDGE_FLEET_REPO, or the folder that you are in.
exit status: 0 fine, 1 failure, 2 wrong usage"""
PROGRAM = Program("edge-fleet", "Models for a fleet: signed, published, rolled out.", "agent.fleet", VERBS, EXAMPLES)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; returns the exit status."""
    return run(PROGRAM, sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(main())
