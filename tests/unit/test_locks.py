"""What a device gets is what was tested."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def locked(name: str) -> set[tuple[str, str]]:
    """Names, and versions with their markers, but for those that leave out PyPy, on which neither runs."""
    text = re.sub(r" and (platform_python_implementation|implementation_name) != 'PyPy'", "", (ROOT / name).read_text())
    return set(re.findall(r"^([a-z0-9-]+)==(.*?) \\$", text, re.MULTILINE))


def test_the_runtime_lock_is_the_part_of_the_lock_that_a_device_needs() -> None:
    runtime = locked("requirements-runtime.lock")
    assert runtime <= locked("requirements.lock")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {re.split(r"[<>=~! [\]]", wanted)[0] for wanted in project["dependencies"]} <= {name for name, _ in runtime}
    assert "pytest" not in {name for name, _ in runtime}
