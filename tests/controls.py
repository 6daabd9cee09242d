"""A fake of what the agent can do, for those who tell it what to do."""

from collections.abc import Collection, Sequence

from msgspec import Struct
from msgspec.structs import replace

from agent.errors import BundleError
from agent.publish.messages import now_text
from agent.publish.orders import BundleRef, CurrentBundle, Reported, Swap, UpdateFailure


class StoredBundle(Struct, frozen=True):
    """As the store has it."""

    name: str
    version: str
    digest: str
    origin: str = "repository"
    complete: bool = True


PEOPLE = StoredBundle("people", "1.3.0", "a" * 64)
NEWER = StoredBundle("people", "1.4.0", "b" * 64)
BROKEN = StoredBundle("people", "1.5.0", "c" * 64)
PARTIAL = StoredBundle("people", "1.6.0", "d" * 64, complete=False)


def reported(state: str = "idle", **fields: object) -> Reported:
    """What a slot that serves `PEOPLE` reports."""
    first = Reported(
        device="gate-03",
        at=now_text(),
        rev_seen=0,
        rev_applied=0,
        deployment=None,
        by="",
        state="idle",
        deferred=None,
        progress_pct=None,
        current=CurrentBundle(name=PEOPLE.name, version=PEOPLE.version, digest=PEOPLE.digest),
        target=None,
        previous=None,
        available=None,
        error=None,
        swap=None,
    )
    return replace(first, state=state, **fields)


class FakeControls:
    """Implements `agent.commands.Controls`: keeps what it was asked; an installation goes a state further whenever it is seen."""

    def __init__(self, slots: Collection[str] = ("people",), pipelines: Collection[str] = ("gate", "yard")) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.to_come: list[Reported] = []
        self._slots = slots
        self._pipelines = pipelines

    def slots(self) -> Collection[str]:
        return self._slots

    def pipelines(self) -> Collection[str]:
        return self._pipelines

    def pause(self, pipeline: str) -> None:
        self.calls.append(("pause", pipeline))

    def resume(self, pipeline: str) -> None:
        self.calls.append(("resume", pipeline))

    def snapshot(self, pipeline: str) -> bytes:
        self.calls.append(("snapshot", pipeline))
        return b"\xff\xd8 a picture"

    def reported(self, slot: str) -> Reported:
        assert slot in self._slots
        if len(self.to_come) > 1:
            return self.to_come.pop(0)
        return self.to_come[0] if self.to_come else reported()

    def stored(self) -> Sequence[StoredBundle]:
        return (PEOPLE, NEWER, BROKEN, PARTIAL)

    def install(self, slot: str, name: str, version: str, by: str, *, force: bool) -> None:
        self._begin("install", slot, name, version, by, force=force)

    def activate(self, slot: str, name: str, version: str, by: str, *, force: bool) -> None:
        self._begin("activate", slot, name, version, by, force=force)

    def _begin(self, op: str, slot: str, name: str, version: str, by: str, *, force: bool) -> None:
        self.calls.append((op, slot, name, version, by, "force" if force else ""))
        ours = f"local-{len(self.calls)}"
        target = BundleRef(name=name, version=version, digest="b" * 64)
        if name != "people":
            failure = UpdateFailure(code="not_found", phase="accepted", detail=f"there is no {name}@{version}", retryable=True)
            steps = [reported("accepted", target=target), reported("failed", error=failure)]
        else:
            current = CurrentBundle(name=name, version=version, digest="b" * 64)
            steps = [
                reported("accepted", target=target),
                reported("downloading", target=target, progress_pct=40.0),
                reported("downloading", target=target, progress_pct=80.0),
                reported("deferred", target=target, deferred="window"),
                reported("probation", target=target, progress_pct=50.0),
                reported("committed", current=current, swap=Swap(gap_ms=41.2, frames_lost=0)),
            ]
        self.to_come = [replace(step, deployment=ours) for step in steps]

    def rollback(self, slot: str, by: str) -> None:
        self.calls.append(("rollback", slot, by))
        self.to_come = [reported("committed"), reported("staged", deployment="back"), reported("committed", deployment="back")]

    def factory(self, slot: str, by: str) -> None:
        self.calls.append(("factory", slot, by))

    def cancel(self, slot: str, by: str) -> None:
        self.calls.append(("cancel", slot, by))

    def verify(self, digest: str) -> None:
        self.calls.append(("verify", digest))
        if digest == BROKEN.digest:
            raise BundleError("people@1.5.0: model.onnx: it is damaged")
