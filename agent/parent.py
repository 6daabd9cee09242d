"""A child process that must not outlive the agent that started it."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2): follows the thread that started the child, which therefore has to live as long


def die_with(agent: int) -> None:
    """Have the kernel end this process when its parent, of that pid, ends; called first of all."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != agent:  # it died before we asked to be told
        sys.exit(1)
