"""edge-agent: one file a verb, each imported when it is asked for."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from agent import __version__
from agent.errors import AgentError

# Before numpy is imported: its BLAS, which nothing here uses, would start a thread a core.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

VERBS = {
    "run": "run the agent",
    "check": "check a config and the models that it names",
    "predict": "run a model on pictures, videos or cameras and show what it sees",
    "model": "look at a model, or write a bundle for it",
}
EXAMPLES = """examples:
  edge-agent predict yolov8n.tflite street.jpg --save out    see what a model sees
  edge-agent run --model yolov8n.tflite --source 0 --mqtt localhost
  edge-agent run /etc/edge-agent/config.yaml
  edge-agent check config.yaml

exit status: 0 fine, 1 failure, 2 wrong usage or config"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; returns the exit status. What a person can mend ends in one line on stderr."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="edge-agent",
        description="Detections from cameras, over MQTT.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"edge-agent {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    asked = next((word for word in words if word in VERBS), None)
    for verb, summary in VERBS.items():
        if verb == asked:
            import_module(f"agent.cli.{verb}").add_parser(verbs)
        else:
            verbs.add_parser(verb, help=summary)
    args = parser.parse_args(words)
    try:
        status: int = args.run(args)
    except AgentError as error:
        for line in str(error).splitlines():
            print(f"edge-agent: {line}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115  else the interpreter complains when it flushes
        return 1
    except KeyboardInterrupt:
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
