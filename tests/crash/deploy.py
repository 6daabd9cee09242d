"""The agent with a deployment: `python -m tests.crash.deploy CONFIG BUNDLE VERSION`.

It starts, takes the wish for that bundle unless it is fulfilled or under way, and stops once the slot `main` rests and serves.

Says on stdout how the slot reports itself then. Status 1 where the model that was wanted does not serve in the end.
"""

import os
import signal
import sys
import threading
from pathlib import Path

from agent.app.app import App
from agent.config import load_config
from agent.errors import AgentError
from agent.update.machine import TERMINAL
from agent.update.updater import Updater
from tests.waiting import wait_until

DEADLINE_S = 60.0


def main(config: Path, bundle: str, version: str) -> int:
    """See above."""
    app = App(load_config(config))
    updater = app._updates.slots["main"]
    deployment = threading.Thread(target=_deploy, args=(updater, bundle, version), name="deployment")
    deployment.start()
    status = app.run()
    deployment.join()
    report = updater.reported()
    current = report.current.version if report.current else None
    sys.stdout.write(f"{report.state} {current} {report.error.code if report.error else ''}\n")
    return status or int(current != version)


def _deploy(updater: Updater, bundle: str, version: str) -> None:
    """Ends the agent in the end, whatever comes."""

    def rests() -> bool:
        return updater.reported().state in TERMINAL and updater._slot.state == "running"

    try:
        wait_until(lambda: updater._slot.state == "running", "a model serves", DEADLINE_S)
        if updater.reported().state in TERMINAL and not _serves(updater, version):
            updater.install(bundle, version, "test")
            wait_until(lambda: updater.reported().state not in TERMINAL or _serves(updater, version), "it begins", DEADLINE_S)
        wait_until(rests, "the deployment ends", DEADLINE_S)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)


def _serves(updater: Updater, version: str) -> bool:
    current = updater.reported().current
    return current is not None and current.version == version


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
    except AgentError as error:
        sys.exit(str(error))
