"""What is in front of a pipeline's camera now, as its retained state message."""

import threading
from collections.abc import Mapping

from agent.pipeline.presence import Presence
from agent.publish import Publisher
from agent.publish.messages import PipelineState, encode, now_text


class StatePublisher:
    """Told whether source and model run, and what the pipeline sees; publishes what changes."""

    def __init__(self, publisher: Publisher, topic: str) -> None:
        self._publisher = publisher
        self._topic = topic
        self._lock = threading.Lock()  # the source's thread and the model's
        self._presence = Presence()
        self._live = False
        self._publish(None)

    def set_live(self, live: bool) -> None:
        """The pipeline has begun or ceased to see what is before its camera."""
        with self._lock:
            if self._live and not live:
                self._presence.forget()
                self._publish(None)
            self._live = live

    def seen(self, counts: Mapping[str, int], mono_ns: int) -> None:
        """What a frame shows."""
        with self._lock:
            settled = self._presence.update(counts, mono_ns) if self._live else None
            if settled is not None:
                self._publish(settled)

    def _publish(self, counts: Mapping[str, int] | None) -> None:
        settled = None if counts is None else dict(counts)
        message = PipelineState(live=settled is not None, counts=settled, since_at=now_text())
        self._publisher.publish(self._topic, encode(message), qos=1, retain=True)
