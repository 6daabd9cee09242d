"""Swaps of models under a running stream: what they cost, and that no frame is lost.

usage: python -m scripts.bench_swap [--swaps N] [--rollbacks N] [--cold N] [--fps F]

The demo's belt at F frames a second, one pipeline, and by turns models/parts-1.0.0 (LiteRT, 320 x 320, five labels) and parts-1.1.0
(onnxruntime, 384 x 288, six). Each swap vets the other bundle beside the one that serves, switches, waits for some answers and
commits; a window of the same length without a swap follows. Then candidates are killed right after the switch, first with a warm
standby, then without one. Whatever the figures, each frame that was handed to a model must have one result, in order.
"""

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, ClassVar, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from agent.bundles.load import open_variants
from agent.cli.benchmark.noise import Noise, processor
from agent.core.source import Picture
from agent.core.types import Frame
from agent.pipeline.config import ModelConfig, PipelineConfig, PublishConfig
from agent.pipeline.mailbox import Mailbox
from agent.pipeline.models import make_worker
from agent.pipeline.pipeline import Pipeline
from agent.pipeline.results import Origin
from agent.pipeline.source import SourceLoop
from agent.pipeline.streams import ThreadStream
from agent.sources.belt import Belt
from agent.sources.config import SyntheticConfig
from agent.sources.pace import Pace
from agent.update.limits import Limits
from agent.update.vetting import vet
from agent.worker.model import ModelWorker
from agent.worker.slot import ModelSlot
from agent.worker.spawner import Spawner
from agent.worker.watch import Switch
from tests.processes import Usage, usage

BUNDLES = (Path("models/parts-1.0.0"), Path("models/parts-1.1.0"))
IN_FLIGHT = 2
PICTURES = 32  # of the belt, which are shown again and again
MOST_FRAMES = 1 << 18  # room for their records, taken before memory is measured
DEADLINE_S = 60.0
LOOK_S = 0.002
VETTED_FRAMES = 20  # that a candidate answers before it is committed
SETTLED = 10  # swaps after which memory is judged
LEAST_FOR_A_SLOPE = 4
MOST_LOAD = 0.5


class _Model(Struct):
    version: str


class _Latency(Struct):
    inference: float
    postprocess: float


class _Result(Struct):
    frame_seq: int
    model: _Model
    latency_ms: _Latency


class Book(Mailbox):
    """A mailbox, and a `Publisher`, that write down which frames were taken for a model and which results came."""

    def __init__(self) -> None:
        super().__init__(live=True)
        self.taken = np.full(MOST_FRAMES, -1, np.int64)  # frame numbers, of those that were given back twice
        self.answered = np.full(MOST_FRAMES, -1, np.int64)
        self.version = np.full(MOST_FRAMES, -1, np.int8)  # last digit but one of the answering model's
        self.at_ns = np.zeros(MOST_FRAMES, np.int64)
        self.busy_ms = np.zeros(MOST_FRAMES, np.float32)
        self.takes = self.answers = self.returns = 0
        self._decoder = msgspec.json.Decoder(_Result)

    def get(self, timeout_s: float) -> Frame | None:
        """See `Mailbox`."""
        frame = super().get(timeout_s)
        if frame is not None:
            self.taken[self.takes] = frame.seq
            self.takes += 1
        return frame

    def give_back(self, frame: Frame) -> None:
        """See `Mailbox`."""
        self.returns += 1
        super().give_back(frame)

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> bool:  # noqa: ARG002  a Publisher
        """See `Publisher`."""
        result, i = self._decoder.decode(payload), self.answers
        self.answered[i], self.at_ns[i] = result.frame_seq, time.monotonic_ns()
        self.version[i] = int(result.model.version.split(".")[1])
        self.busy_ms[i] = result.latency_ms.inference + result.latency_ms.postprocess
        self.answers += 1
        return True

    def wait_ready(self, timeout_s: float) -> bool:  # noqa: ARG002  as above
        """See `Publisher`."""
        return True

    def unanswered(self) -> int:
        """How many frames were taken for a model and have no result. To be asked when all has ended."""
        return len(np.setdiff1d(self.taken[: self.takes], self.answered[: self.answers]))

    def faults(self, lost: int) -> list[str]:
        """What breaks the promise: one result for each frame that was taken, in order, or one of `lost` failures that were told."""
        answered = self.answered[: self.answers]
        found = []
        if self.unanswered() != lost:
            found.append(f"{self.unanswered()} frames without a result, {lost} failures told")
        if len(np.unique(answered)) != len(answered):
            found.append("frames with two results")
        if (np.diff(answered) <= 0).any():
            found.append("results out of order")
        if self.takes - self.returns != self.answers + lost:
            found.append(f"{self.takes} frames taken, {self.returns} given back, {self.answers} answered, {lost} lost")
        return found


class Reel:
    """A `Source`: the belt's pictures, drawn beforehand, since drawing makes the heap grow for minutes, swaps or not."""

    Config: ClassVar[type[SyntheticConfig]] = SyntheticConfig

    def __init__(self, config: SyntheticConfig) -> None:
        self._config = config
        self._pace = Pace(config.fps)
        self._next = 0
        self._closed = threading.Event()
        width, height = config.size
        self._pictures = np.empty((PICTURES, height, width, 3), np.uint8)
        belt = Belt(config.size, config.fps, config.seed, config.parts)
        for i, picture in enumerate(self._pictures):
            belt.draw(i, picture)

    def open(self) -> None:
        """See `Source`."""

    def grab(self) -> Picture | None:
        """See `Source`."""
        skipped = self._pace.skip(self._next, time.monotonic())
        self._next += skipped + 1
        if self._closed.wait(self._pace.wait(self._next - 1, time.monotonic())):
            return None
        return Picture("bgr24", *self._config.size, skipped=skipped, fps=self._config.fps)

    def retrieve(self, out: NDArray[np.uint8]) -> None:
        """See `Source`."""
        out[:] = self._pictures[self._next % PICTURES]

    def close(self) -> None:
        """See `Source`."""
        self._closed.set()


class Window(NamedTuple):
    """A stretch of time. drops: of the mailbox. gaps_ms: between answers."""

    seconds: float
    drops: int
    gaps_ms: NDArray[np.floating[Any]]


class Bench:
    """The agent's parts around one pipeline."""

    def __init__(self, fps: float) -> None:
        self.fps = fps
        self.spawner = Spawner()
        self.book = Book()
        self.slot = ModelSlot("bench")
        source = SyntheticConfig(fps=fps)
        stream = partial(ThreadStream, "belt", Reel(source), IN_FLIGHT + 3)  # one in the mailbox, one read, one on its way
        self.source = SourceLoop("belt", source, stream, [self.book], lambda *_: None)
        config = PipelineConfig(source="belt", model="bench", publish=PublishConfig(empty=True))
        self.pipeline = Pipeline(
            Origin("bench", "0", "bench", "bench"),
            config,
            self.book,
            self.slot,
            IN_FLIGHT,
            self.book,
            "",
            lambda: True,
            lambda *_: None,
        )
        self.serves = 0  # of BUNDLES

    def start(self) -> None:
        """The first bundle serves."""
        worker = self.worker(self.serves)
        self.slot.serve(worker)
        worker.start()
        self.source.start()
        self.pipeline.start()
        self.wait_for_answers(VETTED_FRAMES)

    def close(self) -> None:
        """End the source first, so that everything that was taken is answered."""
        self.source.stop()
        self.pipeline.join()
        self.slot.close()
        self.spawner.close()

    def worker(self, bundle: int, *, restart: bool = True) -> ModelWorker:
        """Of one of BUNDLES, not yet started."""
        config = ModelConfig(bundle=str(BUNDLES[bundle]), threads=1)
        return make_worker("bench", config, open_variants(BUNDLES[bundle]), IN_FLIGHT, self.spawner, restart=restart)

    def candidate(self) -> ModelWorker:
        """A worker of the bundle that does not serve, warm."""
        worker = self.worker(1 - self.serves, restart=False)
        worker.start()
        self.wait(lambda: worker.state != "loading")
        return worker

    def vetted(self) -> ModelWorker:
        """As `candidate`, and fit to serve by all that the agent asks of it."""
        worker = self.worker(1 - self.serves, restart=False)
        vet(worker, open_variants(BUNDLES[1 - self.serves]), self.slot.worker, Limits(None, None, self.fps))
        return worker

    def swap(self) -> Switch:
        """From the candidate's vetting to the former's end."""
        self.slot.switch(self.vetted(), keep_standby=True, timeout_s=DEADLINE_S)
        self.serves = 1 - self.serves
        self.wait(lambda: self.slot.watch.invoked >= VETTED_FRAMES)
        self.slot.commit()
        self.slot.drop_standby()
        return self.switched()

    def roll_back(self) -> Switch:
        """The candidate is killed right when a frame has been taken for it; the warm standby serves again."""
        self.slot.switch(self.candidate(), keep_standby=True, timeout_s=DEADLINE_S)
        self.kill()
        self.wait(lambda: self.slot.fallen is not None)
        return self.switched()

    def roll_back_cold(self) -> Switch:
        """The same without a standby: the former model is started anew."""
        self.slot.switch(self.candidate(), keep_standby=False, timeout_s=DEADLINE_S)
        self.kill()
        self.wait(lambda: bool(self.slot.watch.failures))
        self.slot.vacate()
        former = self.worker(self.serves)
        self.slot.serve(former)
        former.start()
        return self.switched()

    def kill(self) -> None:
        """End the process that serves, once it has answered something, when a frame has been taken for it."""
        self.wait(lambda: self.slot.watch.invoked > 0)
        worker, takes = self.slot.worker, self.book.takes
        self.wait(lambda: self.book.takes > takes)
        if worker is not None and worker.pid is not None:
            os.kill(worker.pid, signal.SIGKILL)

    def switched(self) -> Switch:
        """The figures of the last switch, once they are known."""
        self.wait(lambda: self.slot.last_switch() is not None)
        return self.slot.last_switch() or Switch(0.0, 0)

    def window(self, begin: tuple[float, int, int]) -> Window:
        """Since `mark`."""
        at, drops, answers = begin
        gaps = np.diff(self.book.at_ns[answers : self.book.answers]) / 1e6
        return Window(time.monotonic() - at, self.book.frames_dropped - drops, gaps)

    def mark(self) -> tuple[float, int, int]:
        """The beginning of a window."""
        return time.monotonic(), self.book.frames_dropped, self.book.answers

    def wait_for_answers(self, frames: int) -> None:
        """Until so many more frames are answered."""
        answers = self.book.answers
        self.wait(lambda: self.book.answers >= answers + frames)

    def wait(self, condition: Callable[[], bool]) -> None:
        """Until that holds."""
        end = time.monotonic() + DEADLINE_S
        while not condition():
            if time.monotonic() > end:
                raise SystemExit(f"bench_swap: nothing happens: {self.slot.state} {self.slot.fallen}")
            time.sleep(LOOK_S)


class Slope(NamedTuple):
    """kB a swap, and its standard error."""

    kb: float
    error_kb: float


def slope(dirty_kb: Sequence[int]) -> Slope:
    """Least squares; each of the two models that serve by turns has a level of its own."""
    n = np.arange(len(dirty_kb))
    terms = np.stack((n, n % 2 == 0, n % 2 == 1), axis=1).astype(np.float64)
    values = np.asarray(dirty_kb, np.float64)
    found, *_ = np.linalg.lstsq(terms, values)
    residuals = values - terms @ found
    variance = (residuals**2).sum() / (len(values) - terms.shape[1]) * np.linalg.inv(terms.T @ terms)[0, 0]
    return Slope(float(found[0]), float(np.sqrt(variance)))


def gaps(name: str, gaps_ms: Sequence[float] | NDArray[np.floating[Any]]) -> str:
    """Percentiles, for people."""
    p50, p99 = np.percentile(gaps_ms, (50, 99))
    return f"{name:32} {p50:8.1f} {p99:8.1f} {max(gaps_ms):8.1f}   of {len(gaps_ms)}"


@dataclass
class Figures:
    """What was measured. swapping: from vetting to commit; quiet: as long, without a swap, by turns. dirty_kb: after each swap."""

    swapping: list[Window] = field(default_factory=list)
    quiet: list[Window] = field(default_factory=list)
    switches: list[Switch] = field(default_factory=list)
    dirty_kb: list[int] = field(default_factory=list)
    warm: list[Switch] = field(default_factory=list)
    cold: list[Switch] = field(default_factory=list)
    used: dict[str, Usage] = field(default_factory=dict)
    load: float = 0.0
    returned: int = 0

    def lost(self) -> int:
        """Frames in swaps and warm rollbacks."""
        return sum(switch.frames_lost for switch in self.switches + self.warm)


def measure(bench: Bench, swaps: int, rollbacks: int, cold: int) -> Figures:
    """All of it, on a bench that runs."""
    figures, book = Figures(), bench.book
    started, answers = time.monotonic(), book.answers
    figures.used["before"] = usage(os.getpid())
    for i in range(swaps):
        begin = bench.mark()
        figures.switches.append(bench.swap())
        figures.swapping.append(bench.window(begin))
        begin = bench.mark()
        time.sleep(figures.swapping[-1].seconds)
        figures.quiet.append(bench.window(begin))
        figures.dirty_kb.append(usage(os.getpid()).dirty_kb)
        progress("swap", i, swaps)
    figures.load = book.busy_ms[answers : book.answers].sum() / 1000 / (time.monotonic() - started)
    figures.used["after the swaps"] = usage(os.getpid())
    for i in range(rollbacks):
        figures.warm.append(bench.roll_back())
        progress("warm rollback", i, rollbacks)
    figures.returned = book.returns
    figures.used["after the warm rollbacks"] = usage(os.getpid())
    for i in range(cold):
        figures.cold.append(bench.roll_back_cold())
        progress("cold rollback", i, cold)
    return figures


def table(figures: Figures, book: Book) -> Iterator[str]:
    """For people."""
    yield f"worker busy {figures.load:.0%} of the time"
    yield f"{book.takes - book.returns} frames handed to a model, {book.answers} with a result, {book.unanswered()} without"
    yield (
        f"lost in {len(figures.switches)} swaps and {len(figures.warm)} warm rollbacks: {figures.lost()}, given to the standby: "
        f"{figures.returned}; lost in {len(figures.cold)} cold rollbacks: {sum(switch.frames_lost for switch in figures.cold)}"
    )
    yield f"{'ms between two answers':32} {'p50':>8} {'p99':>8} {'max':>8}"
    yield gaps("without a swap", np.concatenate([window.gaps_ms for window in figures.quiet]))
    yield gaps("from vetting to commit", np.concatenate([window.gaps_ms for window in figures.swapping]))
    yield gaps("across the switch", [switch.gap_ms for switch in figures.switches])
    for name, switches in (("warm", figures.warm), ("cold", figures.cold)):
        if switches:
            yield gaps(f"across a {name} rollback", [switch.gap_ms for switch in switches])
    yield f"{'mailbox drops':32} {'median':>8} {'sum':>8}"
    for name, windows in (("without a swap", figures.quiet), ("from vetting to commit", figures.swapping)):
        drops = [window.drops for window in windows]
        seconds = median(window.seconds for window in windows)
        yield f"{name:32} {median(drops):8g} {sum(drops):8}   in {len(drops)} windows of {seconds:.1f} s"
    yield f"{'':32} {'fds':>8} {'threads':>8} {'proc.':>8} {'dirty kB':>10}"
    for name, at in figures.used.items():
        yield f"{name:32} {at.descriptors:8} {at.threads:8} {at.processes:8} {at.dirty_kb:10}"
    if len(figures.dirty_kb) > SETTLED + LEAST_FOR_A_SLOPE:
        found = slope(figures.dirty_kb[SETTLED:])
        yield f"Private_Dirty, swaps {SETTLED} to {len(figures.dirty_kb)}: {found.kb:.1f} ± {found.error_kb:.1f} kB a swap"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--rollbacks", type=int, default=30)
    parser.add_argument("--cold", type=int, default=5)
    parser.add_argument("--fps", type=float, default=60.0)
    args = parser.parse_args(arguments)
    noise = Noise()
    bench = Bench(args.fps)
    with closing(bench):
        bench.start()
        figures = measure(bench, max(1, args.swaps), args.rollbacks, args.cold)
    print(f"{processor()}, {args.fps:g} frames a second", *table(figures, bench.book), sep="\n")
    for problem in noise.problems():
        print(f"not to be trusted: {problem}", file=sys.stderr)
    faults = bench.book.faults(bench.pipeline.counters.report().failed)
    if figures.lost():
        faults.append(f"{figures.lost()} frames lost")
    if figures.load > MOST_LOAD:
        faults.append(f"the worker was busy {figures.load:.0%} of the time: give fewer --fps")
    for fault in faults:
        print(f"bench_swap: {fault}", file=sys.stderr)
    return 1 if faults else 0


def progress(name: str, i: int, count: int) -> None:
    """How far it is."""
    print(f"\r{name} {i + 1} of {count}", end="\n" if i + 1 == count else "", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
