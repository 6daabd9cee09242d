"""The runtime alone, in a tight loop on pictures of the source, in a process of its own that is gone before the agent is measured.

Run as a module with one argument, a `Job` as JSON; writes a `Bare` as JSON.
"""

import os
import sys
import time
from contextlib import closing
from itertools import cycle
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from agent.checked import suggest_file
from agent.cli.options import store_for
from agent.config import source_from
from agent.core.preprocess import Preprocessor
from agent.core.spec import ModelSpec
from agent.errors import AgentError, UsageError
from agent.loading import load_class
from agent.pipeline.config import ModelConfig
from agent.pipeline.models import look_at
from agent.pipeline.streams import open_stream
from agent.runtimes import Runtime, RuntimeName, RuntimeOptions
from agent.sources.config import FileConfig, ImagesConfig
from agent.worker.spawner import Spawner

PICTURES = 32  # of the source, again and again
WARM_UP_S = 0.5


class Job(Struct, frozen=True, kw_only=True):
    """model, labels, source, runtime: as on the command line."""

    model: str
    labels: str | None
    source: str
    runtime: RuntimeName | None
    threads: int
    delegates: list[str]
    seconds: float


class Bare(Struct, frozen=True, kw_only=True):
    """source: how a config has it. cpu_ms: of one inference, all threads."""

    fps: float
    cpu_ms: float
    delegate: str
    source: FileConfig | ImagesConfig


def measure(job: Job) -> Bare:
    """AgentError where model or source cannot be used."""
    source = _source(job.source)
    slot = ModelConfig(bundle=job.model, labels=job.labels, runtime=job.runtime, threads=job.threads, delegates=list(job.delegates))
    variant = look_at("bench", slot, store_for(slot.bundle))[1].variant
    options = RuntimeOptions(threads=job.threads, delegates=variant.delegates)
    runtime: Runtime = load_class(variant.runtime)(variant.path, options)
    pictures = cycle(_pictures(source, variant.resolve(runtime.report)))
    _loop(runtime, pictures, WARM_UP_S)
    cpu = time.process_time()
    count, seconds = _loop(runtime, pictures, job.seconds)
    cpu_ms = (time.process_time() - cpu) / count * 1000
    return Bare(fps=count / seconds, cpu_ms=cpu_ms, delegate=runtime.report.delegate, source=source)


def _loop(runtime: Runtime, pictures: "cycle[NDArray[Any]]", seconds: float) -> tuple[int, float]:
    count, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds or not count:
        runtime.run([next(pictures)])
        count += 1
    return count, passed


def _source(text: str) -> FileConfig | ImagesConfig:
    try:
        source = source_from(text)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if not isinstance(source, FileConfig | ImagesConfig):
        raise UsageError(f"{text}: bench needs a video or pictures: a camera would be measured, not the agent")
    if not os.path.exists(text):  # noqa: PTH110  Path.exists may raise
        raise UsageError(f"{text}: there is no such file or folder{suggest_file(Path(text))}")
    return type(source)(path=str(Path(text).absolute()))


def _pictures(source: FileConfig | ImagesConfig, spec: ModelSpec) -> list[NDArray[Any]]:
    """The first of the source, each as the model's input."""
    preprocess = Preprocessor(spec.input, spec.tensor)
    inputs: list[NDArray[Any]] = []
    with closing(Spawner()) as spawner, closing(open_stream(spawner, "bench", source, held=1, first_seq=0)) as stream:
        while len(inputs) < PICTURES and (frame := stream.read()) is not None:
            inputs.append(np.empty(preprocess.shape, spec.tensor.dtype))
            preprocess(frame, inputs[-1])
    return inputs


def main() -> int:
    """Returns the exit status; what went wrong is on stderr."""
    try:
        measured = measure(msgspec.json.decode(sys.argv[1], type=Job))
    except AgentError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    print(msgspec.json.encode(measured).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
