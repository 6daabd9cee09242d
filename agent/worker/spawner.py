"""Starts worker processes, from one thread that lives as long as the agent.

Linux ends a child that asked for PR_SET_PDEATHSIG when the *thread* that started it ends: were pipelines' threads to start workers,
a pipeline that ends would take them along.
"""

import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor


class Spawner:
    """The thread that starts workers."""

    def __init__(self, *, show_stderr: bool = False) -> None:
        """show_stderr: let the native libraries' own messages through, for debugging."""
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")
        self._stderr = None if show_stderr else subprocess.DEVNULL

    def spawn(self, module: str, channel: socket.socket) -> subprocess.Popen[bytes]:
        """Run a worker's module in a process and session of its own, with its end of the channel.

        It imports nothing from the working directory (-P), where anybody may have put a numpy.py.
        """
        return self._thread.submit(self._spawn, module, channel.fileno()).result()

    def _spawn(self, module: str, descriptor: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603  our own interpreter and module
            [sys.executable, "-P", "-m", module, str(descriptor), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._stderr,
            pass_fds=(descriptor,),
            start_new_session=True,  # Ctrl-C at the agent's terminal is for the agent alone
        )

    def close(self) -> None:
        """End the thread, and with it every worker that is left."""
        self._thread.shutdown()
