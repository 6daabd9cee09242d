"""A runtime that does what a bad model or driver does, when the first byte of its input says so. Runs in a real model worker.

Its delegates: `cpu` and others are to be had; `crashing` crashes at each picture, `dying` at the warm-up too; `wrong` gives what
no head takes at each picture, `useless` at the warm-up too; `boasting` says that it is slower than it is; `plugged` is to be had
while the file exists that its option `file` names; `absent` never is.
"""

import ctypes
import os
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.core.types import TensorSpec
from agent.errors import BundleError
from agent.runtimes import Delegate, ModelReport, RuntimeOptions
from agent.worker import protocol

SIDE, CLASSES = 8, 4
FINE, SEGFAULT, HANG, LEAK, TRUNCATE, GARBAGE, NAN, RAISE, CLOSE = range(9)
PICTURE = 9  # as FINE, and no warm-up, whose pictures are black


class FaultyRuntime:
    """A classifier of 8 x 8 pictures that always answers class 1, or fails as it is told to."""

    def __init__(self, path: str, options: RuntimeOptions) -> None:
        self._delegate, refused = _first_there(options.delegates)
        if path == "broken":
            raise BundleError("no model")
        if path == "segfault":
            _segfault()
        if path == "hang":
            time.sleep(1000)
        self.report = ModelReport(
            inputs=(TensorSpec("picture", (1, SIDE, SIDE, 3), "uint8", layout="NHWC"),),
            outputs=(TensorSpec("scores", (1, CLASSES), "float32"),),
            delegate=self._delegate,
            refused=refused,
            metadata={},
        )

    def run(self, inputs: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        fault = int(inputs[0].flat[0])
        scores = np.array([[0.0, 1.0, 0.0, 0.0]], np.float32)
        _run_on(self._delegate, fault)
        if fault == SEGFAULT:
            _segfault()
        elif fault == HANG:
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            time.sleep(1000)
        elif fault == LEAK:
            leak = []
            while True:
                leak.append(np.ones(1 << 20, np.uint8))
                time.sleep(0.0001)
        elif fault == TRUNCATE:
            _truncate_shared_memory()
        elif fault == GARBAGE:
            _socket().send(b"\xc1garbage")
        elif fault == NAN:
            scores[0, 1] = np.nan
        elif fault == RAISE:
            raise RuntimeError("the operator\ndid not feel like it")
        elif fault == CLOSE:
            _socket().shutdown(socket.SHUT_RDWR)
            time.sleep(1000)
        return [scores]

    def close(self) -> None:
        pass


def _first_there(delegates: Sequence[Delegate]) -> tuple[str, dict[str, str]]:
    refused: dict[str, str] = {}
    for delegate in delegates:
        if delegate.name == "absent" or (delegate.name == "plugged" and not Path(delegate.options["file"]).exists()):
            refused[delegate.name] = "it is not there"
        else:
            return delegate.name, refused
    if delegates:
        raise BundleError("none of the delegates is there")
    return "cpu", {}


def _run_on(delegate: str, fault: int) -> None:
    if delegate == "boasting":
        protocol.send(_socket(), protocol.Ready(0, 1e9))
    if delegate == "dying" or (delegate == "crashing" and fault == PICTURE):
        _segfault()
    if delegate == "useless" or (delegate == "wrong" and fault == PICTURE):
        raise ValueError("the scores are upside down")


def _segfault() -> None:
    ctypes.string_at(0)


def _socket() -> socket.socket:
    """Our end of the channel: the only socket that this process has."""
    for entry in Path("/proc/self/fd").iterdir():
        if entry.is_socket():
            return socket.socket(fileno=os.dup(int(entry.name)))
    raise AssertionError("no channel")


def _truncate_shared_memory() -> None:
    """Reach the agent's descriptor through /proc, as hostile code could, and truncate the file; the seals must refuse it."""
    for entry in Path(f"/proc/{os.getppid()}/fd").iterdir():
        if "memfd:edge-agent" in str(entry.readlink()):
            os.ftruncate(os.open(entry, os.O_RDWR), 0)
