"""What all tests share."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
os.environ["PYTHONPATH"] = str(ROOT)  # workers run runtimes of the tests' own
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as the command line sets it

DATA = Path(os.environ.get("EDGE_TEST_DATA", ROOT / "../shared/data")).resolve()


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real models, pictures and videos; tests that need it are skipped where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"no test data at {DATA}: set EDGE_TEST_DATA")
    return DATA
