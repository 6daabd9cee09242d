"""A look at a model, by a worker that ends with the answer: a file that crashes its runtime does not crash us."""

from contextlib import closing

from agent.worker.spawner import Spawner
from agent.worker.starting import LoadedModel, ModelPlan, Start


def inspect_model(name: str, plan: ModelPlan) -> LoadedModel:
    """What a runtime says of a model; its process has ended. BundleError or WorkerError where it cannot be loaded."""
    with closing(Spawner()) as spawner:
        loaded = Start(spawner, name, plan).load(plan.rungs())
        loaded.process.end()
        return loaded
