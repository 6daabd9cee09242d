"""The tree of errors, classed by what the caller does about them.

AgentError
  Retry           it may work later: back off and try again
    SourceError     a camera, file or program gives no pictures
    BrokerError     the MQTT broker cannot be reached or refuses us
    WorkerError     a worker process crashed, hung, leaked or talked nonsense
    OutputError     a file that a command writes does not reach the disk
    DownloadError   a file cannot be fetched, or not all of it
    StorageError    the disk is full, or cannot be written
    ControlError    no agent on this computer answers
    TrustError      a repository of bundles does not prove what it says
  Reject          this input is refused, and will be refused again
    UsageError      the command line            (exit status 2)
    ConfigError     the device's configuration  (exit status 2)
    BundleError     a model, its manifest or its labels
      DeviceUnfitError  a model that needs what this device, or its config, does not have
    VettingError    a model that was tried beside the one that serves, or has just taken over
    DatasetError    pictures and their truth, by which a model is judged
    PublishError    what a repository, or its keys, do not allow at the operator's desk

Anything else that is raised is a defect: it stops the agent.

Every message is one line that names the thing, the place and what to do.
"""

from typing import Literal

WorkerFailure = Literal["crashed", "deadline", "memory", "protocol", "load"]
TrustFailure = Literal["untrusted", "metadata_expired", "clock", "not_found", "withdrawn"]
VettingFailure = (
    WorkerFailure | Literal["constant_output", "golden_mismatch", "latency", "fps", "dried_up", "device_unfit", "bundle_invalid"]
)


class AgentError(Exception):
    """Base of all errors that end in one clear line; `exit_status` is what a command ends with."""

    exit_status = 1


class Retry(AgentError):  # noqa: N818  named for what the caller does
    """A later try may succeed."""


class SourceError(Retry):
    """A source gives no pictures; `reason` is one of the message schema's values for a source's reason."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class BrokerError(Retry):
    """The MQTT broker cannot be reached or refuses us."""


class WorkerError(Retry):
    """A worker process failed; `kind` says how."""

    def __init__(self, message: str, kind: WorkerFailure) -> None:
        super().__init__(message)
        self.kind = kind


class OutputError(Retry):
    """A file that a command writes does not reach the disk."""


class DownloadError(Retry):
    """A file cannot be fetched, or not all of it. code: whether it came too slowly, or what else the network or the server did."""

    def __init__(self, message: str, code: Literal["network", "too_slow"] = "network") -> None:
        super().__init__(message)
        self.code = code


class StorageError(Retry):
    """The disk is full, or cannot be written."""

    def __init__(self, message: str, code: Literal["disk_full", "disk_error"]) -> None:
        super().__init__(message)
        self.code = code


class ControlError(Retry):
    """The agent on this computer does not run, does not answer, or answers that it could not do what was asked."""


class TrustError(Retry):
    """A repository of bundles does not prove what it says; `code` says which proof fails."""

    def __init__(self, message: str, code: TrustFailure) -> None:
        super().__init__(message)
        self.code = code


class Reject(AgentError):  # noqa: N818  named for what the caller does
    """The input is refused, and will be refused again."""


class UsageError(Reject):
    """The command line is wrong."""

    exit_status = 2


class ConfigError(Reject):
    """The device's configuration is wrong; the message lists every problem, one a line."""

    exit_status = 2


class BundleError(Reject):
    """A model, its manifest or its labels are wrong."""


class DeviceUnfitError(BundleError):
    """A model needs what this device, or its config, does not have."""


class VettingError(Reject):
    """A model is not fit to serve; `code` says what it did."""

    def __init__(self, message: str, code: VettingFailure) -> None:
        super().__init__(message)
        self.code = code


class DatasetError(Reject):
    """Pictures, or what is said to be true of them, are wrong, or another model's."""


class PublishError(Reject):
    """A repository of bundles, or the keys that are at hand, do not allow what is asked of them at the operator's desk."""
