"""edge-fleet: one file a verb, each imported when it is asked for."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

from agent import __version__
from agent.errors import AgentError, UsageError

VERBS = {
    "deploy": "give devices a bundle",
    "rollback": "take a deployment back, on every device that has it",
    "status": "what each device has, and how its deployment goes",
    "cmd": "have devices do something once",
    "forget": "clear what the broker keeps of a device",
}
EXAMPLES = """examples:
  edge-fleet deploy people@1.3.0 --slot people --select ring=canary --repo /srv/models --mqtt broker.example
  edge-fleet status --mqtt broker.example --watch

exit status: 0 fine, 1 failure, 2 wrong usage"""


class Parser(argparse.ArgumentParser):
    """Its errors are one line, like all others. Options are written out: a later one may begin alike."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})

    def error(self, message: str) -> NoReturn:
        """See argparse."""
        raise UsageError(f"{message}; see {self.prog} --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; returns the exit status. What a person can mend ends in one line on stderr."""
    try:
        try:
            return _run(sys.argv[1:] if arguments is None else arguments)
        finally:
            print(end="", flush=True)  # here, and not at the interpreter's end, is seen whether it can be written
    except AgentError as error:
        for line in str(error).splitlines():
            print(f"edge-fleet: {line}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def _run(words: Sequence[str]) -> int:
    asked = next((word for word in words if not word.startswith("-")), None)
    if asked is not None and asked not in VERBS:
        from agent.checked import suggest  # noqa: PLC0415  --help does without it

        raise UsageError(f"there is no verb {asked}{suggest(asked, VERBS) or '; there are ' + ', '.join(VERBS)}")
    parser = Parser(
        prog="edge-fleet",
        description="Models for a fleet of edge-agent devices.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"edge-fleet {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for verb, summary in VERBS.items():
        if verb == asked:
            import_module(f"agent.fleet.{verb}").add_parser(verbs)
        else:
            verbs.add_parser(verb, help=summary)
    args = parser.parse_args(words)
    status: int = args.run(args)
    return status


if __name__ == "__main__":
    sys.exit(main())
