"""How a pipeline's frames go through a model."""

from dataclasses import dataclass

from agent.core.spec import ModelSpec
from agent.pipeline.config import PipelineConfig
from agent.pipeline.filters import Filter, thresholds_for
from agent.worker.inference import Inference
from agent.worker.model import ModelWorker
from agent.worker.slot import Lease


@dataclass(frozen=True, slots=True)
class Use:
    """Made anew where another model serves. keep: what of its predictions the pipeline lets out."""

    worker: ModelWorker
    spec: ModelSpec
    inference: Inference
    keep: Filter

    @classmethod
    def of(cls, lease: Lease, config: PipelineConfig) -> "Use":
        """Of the model that a slot is for."""
        worker, spec = lease.worker, lease.slot.spec
        return cls(worker, spec, Inference(worker, spec, thresholds_for(spec, config)), Filter(spec, config))

    def fits(self, lease: Lease) -> bool:
        """Whether that is still so."""
        return lease.worker is self.worker and lease.slot.spec is self.spec
