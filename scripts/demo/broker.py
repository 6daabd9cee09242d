"""A broker inside the demo's own process, so that nothing has to be installed or configured."""

import asyncio
import logging
import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from amqtt.broker import Broker

from agent.errors import BrokerError

HOST = "127.0.0.1"  # the demo is nobody's business but this computer's
USUAL_PORT = 1883
START_S = 10.0
ANONYMOUS = "amqtt.plugins.authentication.AnonymousAuthPlugin"


class EmbeddedBroker:
    """amqtt on a thread of its own, as a context manager. It speaks MQTT 3.1.1."""

    def __init__(self, port: int) -> None:
        logging.getLogger("amqtt").setLevel(logging.CRITICAL)  # it tells of each client that leaves
        self._address = f"{HOST}:{port}"
        self._config = {
            "listeners": {"default": {"type": "tcp", "bind": self._address}},
            "plugins": {ANONYMOUS: {"allow_anonymous": True}},
        }
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._started = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)

    def __enter__(self) -> Self:
        """Start it, and wait until it listens. BrokerError where it does not."""
        self._thread.start()
        if not self._started.wait(START_S) or self._failure is not None:
            raise BrokerError(f"the demo's broker does not start on {self._address}: {self._failure or 'it says nothing'}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with suppress(RuntimeError):  # its loop has ended by itself
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(START_S)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except Exception as error:  # noqa: BLE001  it is told where the demo waits
            self._failure = error
        finally:
            self._started.set()
            self._loop.close()

    async def _serve(self) -> None:
        broker = Broker(self._config)
        await broker.start()
        self._started.set()
        await self._stop.wait()
        await broker.shutdown()


def choose_port() -> int:
    """The usual port or, where a broker has that already, any that is free."""
    try:
        return _bindable(USUAL_PORT)
    except OSError:
        return _bindable(0)


def _bindable(port: int) -> int:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        chosen: int = listener.getsockname()[1]
        return chosen
