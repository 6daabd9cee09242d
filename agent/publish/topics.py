"""The topics that a device writes: all under {prefix}/v1/{device}, which is what its broker lets it write."""

from agent.publish.messages import EventKind


class Topics:
    """The topics of one device. Raises ValueError for a device id that cannot stand in a topic."""

    def __init__(self, prefix: str, device: str) -> None:
        if not device or any(character in device for character in "/+#\0"):
            raise ValueError(f"device id {device!r} cannot stand in a topic: it must not be empty, nor have / + # in it")
        self.device = device
        self._root = f"{prefix}/v1/{device}"
        self.availability = f"{self._root}/availability"
        self.info = f"{self._root}/info"
        self.health = f"{self._root}/health"

    def source(self, name: str) -> str:
        """State of a source; retained."""
        return f"{self._root}/sources/{name}"

    def state(self, pipeline: str) -> str:
        """What is in front of a pipeline's camera now; retained."""
        return f"{self._root}/state/{pipeline}"

    def results(self, pipeline: str) -> str:
        """A pipeline's results."""
        return f"{self._root}/results/{pipeline}"

    def events(self, kind: EventKind) -> str:
        """Events of one kind."""
        return f"{self._root}/events/{kind}"
