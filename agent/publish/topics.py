"""The topics of a device, which writes under {prefix}/v1/{device} and reads under {prefix}-ctl/v1/{device}, as it may."""

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
        """Which model a slot has, and how its newest deployment goes; retained."""
        return f"{self._root}/models/{slot}/reported"

    def snapshot(self, pipeline: str) -> str:
        """A picture that a pipeline takes, as JPEG, when a command asks for it."""
        return f"{self._root}/snapshots/{pipeline}"

    def desired(self, slot: str) -> str:
        """Which model operators want a slot to have; retained, read by the device."""
        return f"{self._control}/models/{slot}/desired"
