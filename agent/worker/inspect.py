"""A look at a model file, by a worker that ends with the answer: a file that crashes its runtime does not crash us."""

from contextlib import closing
from pathlib import Path

from agent.runtimes import RUNTIMES, ModelReport, RuntimeOptions
from agent.worker.model import ModelFile, load_model, start_process
from agent.worker.spawner import Spawner

MEMORY_LIMIT_BYTES = 4 << 30


def inspect_model(path: Path, runtime: str, options: RuntimeOptions) -> ModelReport:
    """What a runtime, a key of RUNTIMES, says of a model file. BundleError or WorkerError where it cannot be loaded."""
    file = ModelFile(str(path), RUNTIMES[runtime], options, MEMORY_LIMIT_BYTES)
    with closing(Spawner()) as spawner:
        process = start_process(spawner, path.name, file)
        try:
            return load_model(process, file)
        finally:
            process.end()
