"""A model over every picture of a judge, on the way that `run` and `predict` take too."""

import argparse
from contextlib import closing

from msgspec.structs import replace

from agent.cli.evaluation import Judge
from agent.cli.interruption import Interruption
from agent.cli.predictor import Predictor, started
from agent.core.spec import ModelSpec
from agent.errors import UsageError
from agent.pipeline.config import PipelineConfig
from agent.pipeline.streams import open_stream
from agent.progress import Progress
from agent.sources.config import ImagesConfig

PICTURES_A_STREAM = 200  # their paths travel to a camera worker in one packet


def evaluate(args: argparse.Namespace, judge: Judge) -> None:
    """Show the judge what the model sees in each of its pictures. args: as `agent.cli.eval` parses them.

    AgentError at the first failure, KeyboardInterrupt after Ctrl-C.
    """
    paths = [str(path) for path in judge.pictures]
    with Interruption() as interruption, started(args, interruption) as model:
        if model.spec.task != judge.task:
            raise UsageError(f"{args.model}: its task is {model.spec.task}; this judges models whose task is {judge.task}")
        judge.begin(model.spec)
        predictor = Predictor(model.worker, model.spec, _thresholds(args, judge, model.spec))
        number = 0
        with closing(Progress(len(paths), "pictures")) as progress:
            for start in range(0, len(paths), PICTURES_A_STREAM):
                pictures = ImagesConfig(path=paths[start : start + PICTURES_A_STREAM])
                with closing(open_stream(model.spawner, "eval", pictures, held=1, first_seq=0)) as stream:
                    interruption.wake = stream.interrupt
                    for _, answer, prediction in predictor.run(stream, interruption):
                        judge.add(number, answer.frame, prediction)
                        number += 1
                        progress.show(number)


def _thresholds(args: argparse.Namespace, judge: Judge, spec: ModelSpec) -> PipelineConfig:
    asked = {name: getattr(args, name) for name in ("score", "iou", "max_detections") if getattr(args, name) is not None}
    return replace(judge.thresholds(spec), **asked)
