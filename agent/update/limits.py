"""What a model may take on this device: the same in vetting and in probation."""

from typing import NamedTuple

from agent.bundles.load import Bundle

MEMORY_MARGIN = 1.25  # over what the bundle says; allocators and libraries differ from device to device


class Limits(NamedTuple):
    """memory_mb: what the bundle says that it needs. max_latency_ms: what the bundle allows the median of its inferences to take.
    demand_hz: frames a second that the live sources of the slot's pipelines give, all together.
    """

    memory_mb: int | None
    max_latency_ms: float | None
    demand_hz: float

    def of(self, bundle: Bundle) -> "Limits":
        """With what the variant that serves says, where nothing is said here."""
        manifest = bundle.manifest
        return Limits(self.memory_mb or manifest.requires.memory_mb, self.max_latency_ms or manifest.max_latency_ms, self.demand_hz)

    def too_much_memory(self, memory_bytes: int) -> str | None:
        """Why that is more than it may have. memory_bytes: as `agent.worker.memory` reads it."""
        if self.memory_mb is None or memory_bytes <= MEMORY_MARGIN * (self.memory_mb << 20):
            return None
        return (
            f"it uses {memory_bytes >> 20} MB of memory, more than {MEMORY_MARGIN} times the {self.memory_mb} MB of its memory_mb"
        )

    def too_late(self, p50_ms: float) -> str | None:
        """Why that median is more than its bundle allows."""
        if self.max_latency_ms is None or p50_ms <= self.max_latency_ms:
            return None
        return f"an inference takes {p50_ms:.1f} ms, more than its max_latency_ms of {self.max_latency_ms:g}"

    def falls_behind(self, p50_ms: float, former_p50_ms: float) -> str | None:
        """Why the sources cannot be kept up with any more: its worker would be busy more than all of the time, the former's not."""
        if not self.demand_hz * former_p50_ms <= 1000 < self.demand_hz * p50_ms:
            return None
        return (
            f"an inference takes {p50_ms:.1f} ms, too much for the {self.demand_hz:.1f} frames a second of its sources; "
            f"the model before takes {former_p50_ms:.1f} ms"
        )
