"""The session: which start of the agent a message comes from."""

import secrets
from pathlib import Path

from agent import durable
from agent.errors import ConfigError


def next_session(state_dir: Path) -> str:
    """A counter kept in `state_dir`, +1 each start, and a random suffix: 17-6f1c. ConfigError where it cannot be written."""
    file = state_dir / "session"
    try:
        durable.make_folder(state_dir)
        text = file.read_text(encoding="ascii", errors="replace").strip() if file.exists() else ""
        number = int(text) + 1 if text.isdecimal() else 1
        durable.write(file, f"{number}\n".encode())
    except OSError as error:
        raise ConfigError(f"state_dir: {state_dir}: {error.strerror}: name a folder that can be written") from None
    return f"{number}-{secrets.token_hex(2)}"
