"""The model worker's process: loads models and runs them on what lies in the shared slots. Run as a module by the spawner."""

import os
import socket
import time
from collections.abc import Sequence
from typing import Any, NoReturn

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.core.heads import HEADS, Head, ModelOutputs
from agent.core.nms import nms
from agent.core.spec import HeadSpec, Thresholds
from agent.core.types import Detections, Prediction
from agent.errors import Reject
from agent.loading import load_class
from agent.runtimes import Runtime
from agent.worker import child, protocol
from agent.worker.protocol import Arrays, Fault, Infer, Inferred, Load, Loaded, Prepare, Ready
from agent.worker.slots import SharedSlots

WARM_UP_RUNS = 10
WARM_UP_S = 0.5  # a slow model is run less often, but twice at least
UNSUPPRESSED = Thresholds(score=0.0, iou=None)


class Model:
    """A loaded model with its head and its slots."""

    def __init__(self, load: Load) -> None:
        self.runtime: Runtime = load_class(load.runtime)(load.path, load.options)
        self._head: Head
        self._slots: SharedSlots

    def prepare(self, prepare: Prepare, descriptor: int) -> float:
        """Take head and slots, and warm up; returns the slowest run in ms."""
        self._head = make_head(prepare.head, ModelOutputs(self.runtime.report.outputs, prepare.input_size, prepare.classes))
        self._slots = SharedSlots(descriptor, prepare.slots.count, prepare.slots.slot_bytes)
        self._slots.close()
        zeros = [np.zeros([max(n, 1) for n in tensor.shape], tensor.dtype) for tensor in self.runtime.report.inputs]
        runs_ms: list[float] = []
        end = time.monotonic() + WARM_UP_S
        while len(runs_ms) < WARM_UP_RUNS and (len(runs_ms) < 2 or time.monotonic() < end):
            start = time.perf_counter()
            self._head(self.runtime.run(zeros), UNSUPPRESSED)
            runs_ms.append((time.perf_counter() - start) * 1000)
        return max(runs_ms)

    def infer(self, request: Infer) -> Inferred:
        """Invoke, decode and suppress overlaps."""
        inference_s = postprocess_s = 0.0
        answers = []
        for item in request.items:
            inputs = [self._slots.array(request.slot, view.shape, view.dtype, view.offset) for view in item]
            start = time.perf_counter()
            outputs = self.runtime.run(inputs)
            invoked = time.perf_counter()
            answers.append(_arrays(self._predict(outputs, request.thresholds)))
            inference_s += invoked - start
            postprocess_s += time.perf_counter() - invoked
        return Inferred(request.id, answers, inference_s * 1000, postprocess_s * 1000)

    def _predict(self, outputs: Sequence[NDArray[Any]], thresholds: Thresholds) -> Prediction:
        found = self._head(outputs, thresholds)
        if not isinstance(found, Detections):
            return found[: thresholds.max_detections]
        if thresholds.iou is None:
            return found[: thresholds.max_detections]
        kept = nms(
            found.boxes,
            found.scores,
            found.class_ids,
            iou=thresholds.iou,
            class_agnostic=thresholds.class_agnostic,
            max_detections=thresholds.max_detections,
        )
        return found[kept]


def make_head(spec: HeadSpec, outputs: ModelOutputs) -> Head:
    """The head that a spec names, for a model's outputs; ValueError where they do not fit."""
    head = load_class(HEADS[spec.type])
    made: Head = head(outputs, msgspec.convert(spec.options, head.Options))
    return made


def _arrays(prediction: Prediction) -> Arrays:
    boxes = prediction.boxes.tobytes() if isinstance(prediction, Detections) else None
    return Arrays(prediction.scores.tobytes(), prediction.class_ids.tobytes(), boxes)


def serve(channel: socket.socket) -> NoReturn:
    """Answer the agent's requests until it closes the channel."""
    decoder = msgspec.msgpack.Decoder(protocol.ToModelWorker)
    models: dict[int, Model] = {}
    while True:
        message, descriptor = protocol.receive(channel, decoder)
        if isinstance(message, Infer):
            protocol.send(channel, models[message.model].infer(message))
        elif isinstance(message, Load):
            start = time.perf_counter()
            models[message.model] = model = Model(message)
            protocol.send(channel, Loaded(message.model, model.runtime.report, (time.perf_counter() - start) * 1000))
        elif descriptor is not None:
            protocol.send(channel, Ready(message.model, models[message.model].prepare(message, descriptor)))


def main() -> None:
    """Serve; what a model's file or tensors are guilty of is told before the end."""
    channel = child.start()
    try:
        serve(channel)
    except EOFError:
        return
    except (Reject, ValueError) as error:
        protocol.send(channel, Fault(" ".join(str(error).split()), rejected=True))
    except Exception as error:  # noqa: BLE001  a runtime may raise anything; the agent must be told what
        protocol.send(channel, Fault(f"{type(error).__name__}: {' '.join(str(error).split())}"))
    os._exit(1)  # no destructor of a runtime that has just failed


if __name__ == "__main__":
    main()
