"""What every worker process does first: it makes sure to die with the agent, and to die before it when memory runs out."""

import contextlib
import ctypes
import os
import signal
import socket
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
OOM_SCORE_ADJ = "900"  # of -1000..1000: the kernel ends a worker long before the agent


def start() -> socket.socket:
    """Settle in as a worker and return the channel to the agent; arguments: the channel's descriptor, the agent's pid."""
    descriptor, agent = int(sys.argv[1]), int(sys.argv[2])
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != agent:  # it died before we asked to be told
        sys.exit(1)
    with contextlib.suppress(OSError):  # not allowed in some containers
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE_ADJ, encoding="ascii")
    channel = socket.socket(fileno=descriptor)
    channel.set_inheritable(False)
    return channel
