"""External LiteRT delegates: a real library, loaded by LiteRT itself."""

from pathlib import Path

import numpy as np
import pytest

from agent.errors import BundleError
from agent.runtimes import Delegate, RuntimeOptions
from agent.runtimes.litert import LiteRt
from tests.delegates import delegate_library
from tests.models import SCORES_TFLITE

CPU = Delegate("cpu")


def load(*delegates: Delegate) -> LiteRt:
    return LiteRt(str(SCORES_TFLITE), RuntimeOptions(delegates=delegates))


def vx(**options: str) -> Delegate:
    return Delegate("vx", delegate_library(), options)


def test_it_runs_the_model() -> None:
    loaded = load(vx(take="first"), CPU)
    assert (loaded.report.delegate, loaded.report.refused) == ("vx", {})
    (scores,) = loaded.run([np.ones((1, 64, 64, 3), np.float32)])
    assert scores.shape == (1, 3)


def test_it_is_given_its_options(tmp_path: Path) -> None:
    record = tmp_path / "options"
    load(vx(take="first", record=str(record), device="0"))
    assert record.read_text().splitlines() == ["take=first", f"record={record}", "device=0"]


def test_a_known_name_may_have_options_and_another_library(tmp_path: Path) -> None:
    record = tmp_path / "options"
    loaded = load(Delegate("edgetpu", delegate_library(), {"take": "first", "record": str(record)}))
    assert loaded.report.delegate == "edgetpu"
    assert record.exists()


def test_one_that_takes_nothing_does_not_run_the_model() -> None:
    loaded = load(vx(), CPU)
    assert (loaded.report.delegate, loaded.report.refused) == ("cpu", {"vx": "it took none of this model's operators"})


def test_one_that_refuses_says_why() -> None:
    loaded = load(vx(refuse="no device\nfound"), CPU)
    assert loaded.report.delegate == "cpu"
    assert loaded.report.refused["vx"] == f"{delegate_library()} refuses: no device found"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # LiteRT's Delegate complains in its destructor
def test_a_library_that_is_none_is_told() -> None:
    with pytest.raises(BundleError, match=r"vx: libc.so.6 is no LiteRT delegate: it has no tflite_plugin_create_delegate"):
        load(Delegate("vx", "libc.so.6"))
    with pytest.raises(BundleError, match=r"vx: /nowhere/libvx.so: /nowhere/libvx.so: cannot open shared object file"):
        load(Delegate("vx", "/nowhere/libvx.so"))
