"""Slots of memory that the agent and one worker share: a memfd, sealed so that neither can shrink it under the other's feet.

Without the seals a worker that truncates the file kills the agent by SIGBUS.
"""

import fcntl
import math
import mmap
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import WorkerError

MOST_OF_A_NAME = 50  # characters; the kernel takes 249 bytes
ALIGNMENT = 64  # bytes: a cache line, and what the runtimes' kernels like


class SharedSlots:
    """`count` slots of `slot_bytes` each. The memory goes with the last array that shows it; the descriptor with `close`."""

    def __init__(self, descriptor: int, count: int, slot_bytes: int) -> None:
        """Map a descriptor that `create` made, here or in the other process. ValueError if it is of another size."""
        size = count * slot_bytes
        if os.fstat(descriptor).st_size != size:
            raise ValueError(f"shared memory of {os.fstat(descriptor).st_size} bytes instead of {size}")
        self.descriptor = descriptor
        self.count = count
        self.slot_bytes = slot_bytes
        self._memory = mmap.mmap(descriptor, size)

    @classmethod
    def create(cls, name: str, count: int, slot_bytes: int) -> "SharedSlots":
        """New zeroed slots, each of `slot_bytes` rounded up to `ALIGNMENT`. name: shown in /proc.

        WorkerError where the system has no descriptor or address space left.
        """
        slot_bytes = math.ceil(max(slot_bytes, 1) / ALIGNMENT) * ALIGNMENT
        try:
            descriptor = os.memfd_create(f"edge-agent-{name[:MOST_OF_A_NAME]}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            try:
                os.ftruncate(descriptor, count * slot_bytes)
                fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
                return cls(descriptor, count, slot_bytes)
            except BaseException:
                os.close(descriptor)
                raise
        except OSError as error:
            size = count * slot_bytes
            raise WorkerError(f"{name}: {size} bytes of shared memory cannot be had: {error.strerror}", "memory") from None

    def array(self, slot: int, shape: tuple[int, ...], dtype: str = "uint8", offset: int = 0) -> NDArray[Any]:
        """A writable array on a slot's memory; ValueError where slot, offset and shape lead outside it."""
        count = math.prod(shape)
        size = count * np.dtype(dtype).itemsize
        if not (0 <= slot < self.count and offset >= 0 and min(shape, default=1) >= 0 and offset + size <= self.slot_bytes):
            raise ValueError(
                f"{dtype}{list(shape)} at byte {offset} of slot {slot} is outside {self.count} x {self.slot_bytes} bytes"
            )
        return np.frombuffer(self._memory, dtype, count, slot * self.slot_bytes + offset).reshape(shape)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.descriptor)
