"""What leaves the device: the MQTT client, the topics and the message types."""

from typing import Protocol


class Publisher(Protocol):
    """Takes messages for the broker, from any thread, without waiting for it."""

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> bool:
        """Hand over a message; False: dropped and counted (offline, or the window of unacknowledged messages is full).

        A retained message is never dropped: offline, the newest of each topic is kept and sent on the next connection.
        """

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until a message would be taken; False after `timeout_s`."""
