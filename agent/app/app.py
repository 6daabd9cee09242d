"""The composition root: makes the parts of a config and ties them together, starts them, and stops them in order."""

import logging
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial

from agent import __version__
from agent.app.controls import AppControls
from agent.app.model_log import ModelLog, kind_of, place_of
from agent.app.updates import Updates
from agent.bundles.load import Bundle
from agent.commands.dispatcher import Dispatcher
from agent.commands.executed import ExecutedIds
from agent.commands.inbox import CommandInbox
from agent.commands.local import LocalCommands
from agent.commands.operations import LOCAL
from agent.config import Config
from agent.control.lock import StateLock
from agent.control.place import socket_path
from agent.control.server import ControlServer
from agent.errors import AgentError
from agent.health.heartbeat import Heartbeat
from agent.health.host import Host, clock_synced, hardware, versions
from agent.pipeline.mailbox import Mailbox
from agent.pipeline.models import make_worker
from agent.pipeline.pipeline import Pipeline
from agent.pipeline.reporter import HealthReporter, Parts
from agent.pipeline.results import Origin
from agent.pipeline.session import next_session
from agent.pipeline.source import SourceLoop, SourceStatus
from agent.pipeline.state import StatePublisher
from agent.pipeline.streams import is_live, open_stream
from agent.publish import messages
from agent.publish.messages import (
    Event,
    EventCode,
    EventKind,
    Hardware,
    Info,
    ModelInfo,
    PipelineInfo,
    UpdateEvent,
    encode,
    now_text,
)
from agent.publish.mqtt import Handler, MqttPublisher
from agent.publish.orders import Reported
from agent.publish.topics import Topics
from agent.worker.model import ModelWorker
from agent.worker.slot import ModelSlot
from agent.worker.spawner import Spawner

log = logging.getLogger(__name__)

COMMAND_S = 0.5  # for one that is being executed
END_S = 4.5  # from SIGTERM to the end, of which 5 are allowed
FLUSH_S, LEAST_FLUSH_S = 2.0, 0.5  # for the broker to acknowledge the last messages
LOOK_S = 0.5
PACKAGES = ("ai-edge-litert", "tflite-runtime", "onnxruntime", "openvino", "opencv-python-headless", "numpy", "paho-mqtt")


class App:
    """The agent, from a config to its end. `run` is called once, on the main thread."""

    def __init__(self, config: Config, *, show_native_messages: bool = False) -> None:
        """Raises AgentError where a bundle, a certificate or the state's folder cannot be used."""
        self._config = config
        self._stop = threading.Event()
        self._broken = threading.Event()
        self._telling = threading.Lock()  # held from looking at the parts to publishing it, lest an older look comes last
        with ExitStack() as undo:
            undo.callback(StateLock(config.state_dir).release)
            self._session = next_session(config.state_dir)
            self._topics = Topics(config.mqtt.topic_prefix, config.device_id)
            self._host = Host(config.state_dir)
            self._spawner = Spawner(show_stderr=show_native_messages)
            self._users = Counter(pipeline.model for pipeline in config.pipelines.values())
            self._logs = {name: ModelLog() for name in config.models}
            self._models = {name: ModelSlot(name, self._model_changed) for name in config.models}
            self._updates = Updates(
                config, self._models, self._make_worker, self._frames_in, self._model_reported, self._model_updated
            )
            self._updates.open()
            self._control = ControlServer(socket_path(config.state_dir), self._asked)
            undo.callback(self._control.stop)
            self._publisher = MqttPublisher(
                config.mqtt,
                self._topics,
                password=config.mqtt_password,
                on_state=lambda *_: self._health.poke(),
                subscriptions=self._subscriptions(),
            )
            self._release = undo.pop_all()
        self._states: dict[str, StatePublisher] = {}
        self._pipelines = {name: self._make_pipeline(name) for name in config.pipelines}
        self._sources = {name: self._make_source(name) for name in config.sources}
        parts = Parts(self._sources, self._models, self._pipelines, self._host.read, clock_synced, lambda: self._publisher.dropped)
        self._heartbeat = Heartbeat(config.state_dir)
        self._health = HealthReporter(
            parts, config.device_id, self._session, self._publisher, self._topics.health, self._heartbeat.write
        )
        controls = AppControls(self._updates, self._pipelines, self._update_states)
        commanded = partial(Dispatcher, controls, self._publisher, self._topics, clock_synced=clock_synced)
        self._local = LocalCommands(commanded(allowed=LOCAL, executed=None))
        remote = commanded(allowed=config.mqtt.commands, executed=ExecutedIds(config.state_dir))
        self._inbox = CommandInbox(remote, self._publisher, self._topics.replies)

    def run(self) -> int:
        """Run until SIGTERM, SIGINT or the end of all sources; returns the exit status. AgentError where it cannot begin."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: self._stop.set())
        threading.excepthook = self._thread_broke
        log.info("edge-agent %s as %s, session %s", __version__, self._config.device_id, self._session)
        try:
            self._start()
        except AgentError:
            self._shut_down()
            raise
        while not (self._stop.wait(LOOK_S) or self._finished()):
            pass
        failed = self._broken.is_set() or self._given_up()
        self._shut_down()
        return 1 if failed else 0

    def _start(self) -> None:
        self._publisher.start()
        self._publish_info()
        self._updates.start()
        for source in self._sources.values():
            source.start()
        for pipeline in self._pipelines.values():
            pipeline.start()
        self._health.start()
        self._inbox.start()
        self._control.start()

    def _finished(self) -> bool:
        """Whether nothing more can come: every source has ended and its last frame is answered, or no model can be run."""
        sources, pipelines = self._sources.values(), self._pipelines.values()
        ended = all(source.status.state == "stopped" for source in sources) and not any(p.running for p in pipelines)
        return ended or self._no_model()

    def _no_model(self) -> bool:
        return all(updater.at_end for updater in self._updates.slots.values())

    def _given_up(self) -> bool:
        """Whether every model has turned out not to run, or a source is broken where it would be again."""
        broken = any(s.status.state == "stopped" and s.status.reason != "ended" for s in self._sources.values())
        return broken or self._no_model()

    def _shut_down(self) -> None:
        """In order, each step bounded, so that it is over within 5 s of SIGTERM."""
        ends = time.monotonic() + END_S
        sources = [source.stop for source in self._sources.values()]
        _together([partial(self._inbox.stop, COMMAND_S), self._updates.stop, *sources])
        for pipeline in self._pipelines.values():
            pipeline.stop()
        for pipeline in self._pipelines.values():
            pipeline.join()
        self._health.stop()
        _together([model.close for model in self._models.values()])
        self._publisher.stop(max(LEAST_FLUSH_S, min(FLUSH_S, ends - time.monotonic())))
        self._spawner.close()
        self._heartbeat.remove()
        self._release.close()
        log.info("stopped")

    def _thread_broke(self, broke: threading.ExceptHookArgs) -> None:
        """A defect in any thread ends the agent: systemd starts it afresh."""
        name = broke.thread.name if broke.thread else "?"
        log.critical("defect in thread %s", name, exc_info=(broke.exc_type, broke.exc_value, broke.exc_traceback))  # type: ignore[arg-type]  # the value may be None in name only
        self._broken.set()
        self._stop.set()

    def _make_worker(self, name: str, bundles: tuple[Bundle, ...], restart: bool) -> ModelWorker:
        """Of opened bundles, for a slot; each pipeline that uses it preprocesses one frame while another is with the model."""
        slots = max(2, self._users[name])
        return make_worker(name, self._config.models[name], bundles, slots, self._spawner, restart=restart)

    def _frames_in(self, name: str) -> int:
        """To a slot's pipelines, from live sources, since the start."""
        pipelines = (pipeline for pipeline in self._pipelines.values() if pipeline.config.model == name)
        return sum(pipeline.frames_in for pipeline in pipelines if pipeline.mailbox.live)

    def _subscriptions(self) -> dict[str, Handler]:
        desired = {self._topics.desired(name): partial(self._desired, name) for name in self._models}
        return {**desired, self._topics.commands: self._command}

    def _desired(self, name: str, payload: bytes, _retained: bool) -> None:
        self._updates.desired(name, payload)

    def _command(self, payload: bytes, retained: bool) -> None:
        self._inbox(payload, retained)

    def _asked(self, line: bytes, user_id: int) -> bytes:
        return self._local(line, user_id)

    def _make_pipeline(self, name: str) -> Pipeline:
        config = self._config.pipelines[name]
        state = self._states[name] = StatePublisher(self._publisher, self._topics.state(name))
        return Pipeline(
            Origin(self._config.device_id, self._session, name, config.model),
            config,
            Mailbox(live=is_live(self._config.sources[config.source])),
            self._models[config.model],
            in_flight=self._in_flight(config.model),
            publisher=self._publisher,
            topic=self._topics.results(name),
            clock_synced=clock_synced,
            on_counts=state.seen,
        )

    def _in_flight(self, model: str) -> int:
        """Frames that a pipeline may have at its model. Alone, it keeps a second one ready; several take turns."""
        return 2 if self._users[model] == 1 else 1

    def _make_source(self, name: str) -> SourceLoop:
        config = self._config.sources[name]
        watching = [pipeline for pipeline in self._pipelines.values() if pipeline.config.source == name]
        mailboxes = [pipeline.mailbox for pipeline in watching]
        # One in each mailbox, one on its way, and what each pipeline has at its model: on probation that is held, lest it crash.
        held = sum(1 + self._in_flight(pipeline.config.model) for pipeline in watching) + 1
        return SourceLoop(name, config, partial(open_stream, self._spawner, name, config, held), mailboxes, self._source_changed)

    def _source_changed(self, name: str, status: SourceStatus) -> None:
        message = messages.SourceStatus(state=status.state, reason=status.reason, since_at=now_text())
        self._publisher.publish(self._topics.source(name), encode(message), qos=1, retain=True)
        self._update_states()
        if status.state != "connecting":
            self._event("source", name, status.state, status.detail or status.reason)
        self._health.poke()

    def _model_changed(self, model: ModelSlot) -> None:
        worker, failure = model.worker, model.fallen
        if failure is not None and failure is not self._logs[model.name].fallen:
            self._event("worker", model.name, kind_of(failure), str(failure))
        if worker is not None and worker.state == "running":
            self._publish_info()
            moved = self._logs[model.name].moved(worker)
            self._event("worker", model.name, moved or "started", place_of(worker))
        elif worker is not None and worker.failure is not None:
            self._event("worker", model.name, kind_of(worker.failure), str(worker.failure))
        self._logs[model.name].tell(model)
        updater = self._updates.slots[model.name]
        updater.look()
        if updater.at_end:  # a batch source that others read too must not wait for it
            for pipeline in self._pipelines.values():
                if pipeline.config.model == model.name and not pipeline.mailbox.live:
                    pipeline.stop()
        self._update_states()
        self._health.poke()

    def _update_states(self) -> None:
        """What a pipeline saw is no longer so when its camera or its model is not there."""
        with self._telling:
            for name, pipeline in self._pipelines.items():
                source, model = self._sources[pipeline.config.source], self._models[pipeline.config.model]
                there = source.status.state == "running" and model.state == "running" and not pipeline.paused
                self._states[name].set_live(there)

    def _event(self, kind: EventKind, subject: str, code: EventCode, detail: str) -> None:
        event = Event(device=self._config.device_id, at=now_text(), kind=kind, subject=subject, code=code, detail=detail)
        self._publisher.publish(self._topics.events(kind), encode(event), qos=1)

    def _model_updated(self, name: str, code: UpdateEvent, detail: str) -> None:
        self._event("update", name, code, detail)

    def _model_reported(self, name: str, report: Reported) -> None:
        self._publisher.publish(self._topics.reported(name), encode(report), qos=1, retain=True)

    def _publish_info(self) -> None:
        """What the device is: again each time that a model turns out to run."""
        with self._telling:
            self._publisher.publish(self._topics.info, encode(self._info()), qos=1, retain=True)

    def _info(self) -> Info:
        config = self._config
        workers = {name: model.worker for name, model in self._models.items()}
        specs = {name: worker.known_spec for name, worker in workers.items() if worker is not None}
        return Info(
            device=config.device_id,
            at=now_text(),
            session=self._session,
            versions={"edge-agent": __version__, **versions(PACKAGES)},
            hardware=Hardware(**asdict(hardware())),
            labels=config.device_labels,
            sources={name: str(source.__struct_config__.tag) for name, source in config.sources.items()},
            models={
                name: ModelInfo(
                    name=spec.name,
                    version=spec.version,
                    digest=spec.digest[:12],
                    variant=spec.variant,
                    task=spec.task,
                    delegates=tuple(delegate.name for delegate in config.models[name].asked_delegates()),
                )
                for name, spec in specs.items()
                if spec is not None
            },
            pipelines={name: PipelineInfo(source=p.source, model=p.model) for name, p in config.pipelines.items()},
        )


def _together(steps: list[Callable[[], None]]) -> None:
    """Do all at once and wait for them: a program that ignores SIGTERM must not hold up the others."""
    threads = [threading.Thread(target=step, name="stopping") for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
