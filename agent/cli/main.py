"""edge-agent: one file a verb, each imported when it is asked for."""

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

from agent import __version__
from agent.errors import AgentError, UsageError

# Before numpy is imported: its BLAS, which nothing here uses, would start a thread a core.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

VERBS = {
    "run": "run the agent",
    "check": "check a config and the models that it names",
    "predict": "run a model on pictures, videos or cameras and show what it sees",
    "eval": "measure how often a model is right",
    "bench": "measure speed, latency and memory",
    "model": "models: look at one, make a bundle, try it, or say which the agent is to have",
    "health": "how the agent on this computer is",
}
EXAMPLES = """examples:
  edge-agent predict yolov8n.tflite street.jpg --save out    see what a model sees
  edge-agent run --model yolov8n.tflite --source 0 --mqtt localhost
  edge-agent run /etc/edge-agent/config.yaml
  edge-agent check config.yaml

exit status: 0 fine, 1 failure, 2 wrong usage or config"""


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
            print(f"edge-agent: {line}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:  # the reader of our output has seen enough
        _drop_output()
        return 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _drop_output()
        print(f"edge-agent: {error.filename or 'the output'} cannot be written: the disk is full", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(words: Sequence[str]) -> int:
    asked = next((word for word in words if not word.startswith("-")), None)
    if asked is not None and asked not in VERBS:
        from agent.checked import suggest  # noqa: PLC0415  --help does without it

        raise UsageError(f"there is no verb {asked}{suggest(asked, VERBS) or '; there are ' + ', '.join(VERBS)}")
    for word in words:
        if word.encode(errors="ignore").decode() != word:
            raise UsageError(f"{word}: not UTF-8; rename what is called so")
    parser = Parser(
        prog="edge-agent",
        description="Detections from cameras, over MQTT.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"edge-agent {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for verb, summary in VERBS.items():
        if verb == asked:
            import_module(f"agent.cli.{verb}").add_parser(verbs)
        else:
            verbs.add_parser(verb, help=summary)
    args = parser.parse_args(words)
    status: int = args.run(args)
    return status


def _drop_output() -> None:
    """Send what is still in the buffer nowhere, else the interpreter complains when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
