"""The topics of a device: it writes under {prefix}/v1/{device} alone, and operators under {prefix}-ctl/v1/{device}."""

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
        self.replies = f"{self._root}/replies"
        self._control = f"{prefix}-ctl/v1/{device}"
        self.commands = f"{self._control}/cmd"

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

    def reported(self, slot: str) -> str:
        """What a model slot has, and how its newest deployment goes; retained."""
        return f"{self._root}/models/{slot}/reported"

    def desired(self, slot: str) -> str:
        """Which model operators want a slot to have; retained."""
        return f"{self._control}/models/{slot}/desired"
