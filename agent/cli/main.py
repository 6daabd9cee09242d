"""edge-agent: its verbs."""

import os
import sys
from collections.abc import Sequence

from agent.verbs import Program, run

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
PROGRAM = Program("edge-agent", "Detections from cameras, over MQTT.", "agent.cli", VERBS, EXAMPLES)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; returns the exit status."""
    return run(PROGRAM, sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(main())
