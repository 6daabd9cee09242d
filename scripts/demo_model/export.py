"""The trained net as model files: int8 TFLite by LiteRT Torch, float and int8 QDQ ONNX by torch.onnx and onnxruntime."""

import copy
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import litert_torch
import numpy as np
import torch
from ai_edge_quantizer import quantizer, recipe
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from scripts.demo_model.net import Detector

INPUT = "images"
Pictures = Sequence[NDArray[np.uint8]]  # (h, w, 3), RGB


def with_classes(net: Detector, classes: int) -> Detector:
    """The net that knows only the first classes of this one."""
    fewer = copy.deepcopy(net)
    for head in fewer.heads:
        score = head.score
        score.weight = nn.Parameter(score.weight[:classes].clone())
        score.bias = nn.Parameter(score.bias[:classes].clone())
        score.out_channels = classes
    fewer.eval()
    return fewer


def to_tflite(net: Detector, size: tuple[int, int], pictures: Pictures, path: Path) -> None:
    """int8 in and out, weights by channel; `pictures` show which numbers come up. size: width, height."""
    samples = list(_inputs(pictures, size))
    wrapped = litert_torch.to_channel_last_io(net, args=[0])
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "float.tflite"
        litert_torch.convert(wrapped, (torch.from_numpy(samples[0].transpose(0, 2, 3, 1).copy()),)).export(str(whole))
        quantizing = quantizer.Quantizer(str(whole), recipe.static_wi8_ai8())
        seen = quantizing.calibrate({"serving_default": [{"args_0": sample.transpose(0, 2, 3, 1)} for sample in samples]})
        path.write_bytes(quantizing.quantize(seen).quantized_model)


def to_onnx(net: Detector, size: tuple[int, int], path: Path) -> None:
    """In floats. size: width, height."""
    sample = torch.zeros(1, 3, size[1], size[0])
    torch.onnx.export(net, (sample,), path, input_names=[INPUT], output_names=["cells"], opset_version=17, dynamo=False)


def to_int8_onnx(whole: Path, size: tuple[int, int], pictures: Pictures, path: Path) -> None:
    """QDQ, weights by channel. whole: the float model. size: width, height."""
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(whole), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(path),
            _Reader(_inputs(pictures, size)),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
        )


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    def __init__(self, inputs: Iterator[NDArray[np.float32]]) -> None:
        self._inputs = inputs

    def get_next(self) -> dict[str, Any] | None:
        """See onnxruntime."""
        sample = next(self._inputs, None)
        return None if sample is None else {INPUT: sample}


def _inputs(pictures: Pictures, size: tuple[int, int]) -> Iterator[NDArray[np.float32]]:
    """(1, 3, h, w) of 0 to 1, fitted into `size` as the agent does it."""
    for picture in pictures:
        height, width = picture.shape[:2]
        scale = min(size[0] / width, size[1] / height)
        fitted = cv2.resize(picture, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_LINEAR)
        left, top = (size[0] - fitted.shape[1]) // 2, (size[1] - fitted.shape[0]) // 2
        canvas = np.full((size[1], size[0], 3), 114, np.uint8)
        canvas[top : top + fitted.shape[0], left : left + fitted.shape[1]] = fitted
        yield np.ascontiguousarray(canvas.transpose(2, 0, 1)[None].astype(np.float32) / 255)
