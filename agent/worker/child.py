"""What every worker process does first: it makes sure to die with the agent, and to die before it when memory runs out."""

import contextlib
import socket
import sys
from pathlib import Path

from agent.parent import die_with

OOM_SCORE_ADJ = "900"  # of -1000..1000: the kernel ends a worker long before the agent


def start() -> socket.socket:
    """Settle in as a worker and return the channel to the agent; arguments: the channel's descriptor, the agent's pid."""
    descriptor, agent = int(sys.argv[1]), int(sys.argv[2])
    die_with(agent)
    with contextlib.suppress(OSError):  # not allowed in some containers
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE_ADJ, encoding="ascii")
    channel = socket.socket(fileno=descriptor)
    channel.set_inheritable(False)
    return channel
