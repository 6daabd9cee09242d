"""Registries name a class as "module:Class"; it is imported on use."""

from importlib import import_module
from typing import Any


def load_class(path: str) -> Any:
    """The class that `path`, "module:Class", names."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
