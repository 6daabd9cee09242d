"""Which variants of a bundle a slot may run, and what for."""

import logging
import platform
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from agent.bundles.load import open_variants
from agent.errors import BundleError, DeviceUnfitError
from agent.pipeline.config import DelegateConfig, ModelConfig
from agent.pipeline.models import Plan, look_at, make_worker
from agent.pipeline.models import plan as plan_of
from agent.worker.spawner import Spawner
from tests.delegates import delegate_library
from tests.models import faded, write_onnx, write_tflite

HEAD = "name: a\nversion: '1.0.0'\ntask: classify\nhead: {type: classify, scores: probabilities}\ninput: {mean: 0, std: 1}\n"
OTHER_ARCH = "aarch64" if platform.machine() == "x86_64" else "x86_64"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    scores = faded("scores", np.array([[0.1, 0.9]], np.float32))
    write_tflite(tmp_path / "m.tflite", [scores])
    write_onnx(tmp_path / "m.onnx", [scores])
    return tmp_path


def bundle(folder: Path, models: str) -> str:
    (folder / "bundle.yaml").write_text(HEAD + models)
    return str(folder)


def variants(folder: Path, *lines: str) -> str:
    return bundle(folder, "variants:\n" + "".join(f"  - {{{line}}}\n" for line in lines))


CORAL = "id: coral, model: m.tflite, requires: {delegate: edgetpu}"
CUDA = "id: jetson, model: m.onnx, requires: {delegate: cuda}"
ELSEWHERE = f"id: elsewhere, model: m.tflite, requires: {{arch: {OTHER_ARCH}}}"
ANY = "id: any, model: m.tflite"


def plan(config: ModelConfig) -> Plan:
    return plan_of(config, open_variants(config.bundle))


def chain(config: ModelConfig) -> list[tuple[str, str]]:
    model = plan(config).model
    return [(model.variants[rung.variant].id, rung.delegate.name) for rung in model.rungs()]


def test_what_the_slot_asks_for_decides(folder: Path) -> None:
    path = variants(folder, CORAL, CUDA, ELSEWHERE, ANY)
    assert chain(ModelConfig(bundle=path)) == [("any", "xnnpack"), ("any", "cpu")]
    assert chain(ModelConfig(bundle=path, delegates=["edgetpu", "cpu"])) == [
        ("coral", "edgetpu"),
        ("any", "edgetpu"),
        ("any", "cpu"),
    ]
    assert list(plan(ModelConfig(bundle=path)).model.unfit) == ["coral", "jetson", "elsewhere"]


def test_what_is_left_out_is_logged_at_the_start(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = variants(folder, CORAL, ELSEWHERE, ANY)
    with caplog.at_level(logging.INFO), closing(Spawner()) as spawner:
        make_worker("a", ModelConfig(bundle=path), open_variants(path), 1, spawner)
    coral, elsewhere = caplog.messages
    assert coral.startswith("model a: variant coral is left out: it requires delegate edgetpu, which is not among those")
    assert elsewhere == f"model a: variant elsewhere is left out: it requires arch {OTHER_ARCH}, this is {platform.machine()}"


def test_where_none_fits_each_is_named(folder: Path) -> None:
    with pytest.raises(DeviceUnfitError) as caught:
        plan(ModelConfig(bundle=variants(folder, CORAL, ELSEWHERE)))
    assert str(caught.value) == (
        f"{folder}/bundle.yaml: no variant serves here: coral: it requires delegate edgetpu, "
        "which is not among those that are asked for (xnnpack, cpu); "
        f"elsewhere: it requires arch {OTHER_ARCH}, this is {platform.machine()}"
    )


def test_the_slots_runtime_decides_too(folder: Path) -> None:
    path = variants(
        folder, "id: lite, model: m.tflite", "id: onnx, model: m.onnx", "id: vino, model: m.onnx, requires: {runtime: openvino}"
    )
    assert chain(ModelConfig(bundle=path, runtime="openvino")) == [("onnx", "cpu"), ("vino", "cpu")]
    assert chain(ModelConfig(bundle=path, runtime="onnxruntime")) == [("onnx", "cpu")]
    runtimes = [variant.runtime for variant in plan(ModelConfig(bundle=path)).model.variants]
    assert [runtime.partition(":")[2] for runtime in runtimes] == ["LiteRt", "OnnxRuntime", "OpenVino"]


def test_a_model_that_the_runtime_does_not_read_is_told(folder: Path) -> None:
    with pytest.raises(DeviceUnfitError, match=r"m.tflite: m.tflite runs on litert, not on openvino, which the config asks for"):
        plan(ModelConfig(bundle=str(folder / "m.tflite"), runtime="openvino"))
    with pytest.raises(BundleError, match=r"bundle.yaml: requires.runtime: openvino does not run m.tflite; litert does"):
        plan(ModelConfig(bundle=bundle(folder, "model: m.tflite\nrequires: {runtime: openvino}\n")))


def test_a_variant_whose_delegate_cannot_be_had_is_passed_over(folder: Path) -> None:
    path = variants(folder, CORAL.replace("edgetpu", "vx"), ANY)
    library = delegate_library()
    refusing = DelegateConfig(name="vx", library=library, options={"refuse": "no device"})
    served, loaded = look_at("a", ModelConfig(bundle=path, delegates=[refusing, "cpu"]))
    assert (served.variant, loaded.report.delegate) == ("any", "cpu")
    assert loaded.refused == {
        "vx of variant coral": f"{folder}/m.tflite: LiteRT cannot load it: vx: {library} refuses: no device",
        "vx of variant any": f"{library} refuses: no device",
    }
    served, loaded = look_at(
        "a", ModelConfig(bundle=path, delegates=[DelegateConfig(name="vx", library=library, options={"take": "first"})])
    )
    assert (served.variant, loaded.report.delegate, loaded.refused) == ("coral", "vx", {})


def test_all_variants_belong_to_the_digest(folder: Path) -> None:
    path = variants(folder, CORAL, ANY.replace("m.tflite", "m.onnx"))
    before = {one.digest for one in plan(ModelConfig(bundle=path, delegates=["edgetpu", "cpu"])).bundles}
    assert len(before) == 1
    (folder / "m.onnx").write_bytes((folder / "m.onnx").read_bytes() + b"\x12\x01a")
    assert before != {one.digest for one in plan(ModelConfig(bundle=path)).bundles}
