"""Which commands were executed, so that none is executed twice."""

import logging
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from agent import durable
from agent.bundles.disk import storage_errors
from agent.publish.orders import Id

NAME = "commands"
KEPT = 256

log = logging.getLogger(__name__)


class _File(Struct, frozen=True):
    """v: of this format. ids: the oldest first."""

    v: Literal[1]
    ids: list[Id]


class ExecutedIds:
    """The ids of the newest `KEPT` commands, on disk. For one thread."""

    def __init__(self, state_dir: Path) -> None:
        """A file that cannot be understood is set aside as commands.bad, and nothing in it is believed."""
        self._path = state_dir / NAME
        self._ids = dict.fromkeys(self._read())

    def __contains__(self, command: str) -> bool:
        return command in self._ids

    def add(self, command: str) -> None:
        """To be called before the command is executed: true from now on, after a power cut too. StorageError where it cannot be."""
        ids = [*self._ids, command][-KEPT:]
        with storage_errors(self._path.parent):
            durable.write(self._path, msgspec.json.encode(_File(v=1, ids=ids)))
        self._ids = dict.fromkeys(ids)

    def _read(self) -> list[str]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_File).ids
        except FileNotFoundError:
            return []
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            bad = self._path.with_suffix(".bad")
            log.warning("%s: %s; it is set aside as %s, and commands may be executed once more", self._path, error, bad.name)
            try:
                self._path.replace(bad)
            except OSError as why:
                log.warning("%s cannot be renamed: %s", self._path, why.strerror)
            return []
