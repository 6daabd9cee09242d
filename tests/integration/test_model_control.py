"""`edge-agent model list|install|activate|rollback|verify` as a person runs them, against an agent's control socket."""

import json
import pty
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from agent.commands.dispatcher import Dispatcher
from agent.commands.local import LocalCommands
from agent.commands.operations import LOCAL
from agent.control.server import ControlServer
from agent.publish.topics import Topics
from tests.agent_process import COMMAND, edge_agent, environment, lines_of
from tests.controls import FakeControls, reported
from tests.fakes import RecordingPublisher

Serve = Callable[[FakeControls], Path]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts the part of an agent that answers on the control socket."""
    with ExitStack() as stack:

        def start(controls: FakeControls) -> Path:
            dispatcher = Dispatcher(
                controls,
                RecordingPublisher(),
                Topics("edge", "gate-03"),
                allowed=LOCAL,
                executed=None,
                clock_synced=lambda: True,
            )
            server = ControlServer(tmp_path / "control.sock", LocalCommands(dispatcher))
            stack.callback(server.stop)
            server.start()
            return tmp_path / "control.sock"

        yield start


def test_list(serve: Serve) -> None:
    controls = FakeControls(slots=("people", "night"))
    run = edge_agent("model", "list", "--socket", serve(controls))
    assert run.returncode == 0
    assert run.stdout == (
        "SLOT    STATE  CURRENT       PREVIOUS  TARGET  AVAILABLE\n"
        "people  idle   people@1.3.0  -         -       -\n"
        "night   idle   people@1.3.0  -         -       -\n"
        "\n"
        "STORE         DIGEST        FROM\n"
        "people@1.3.0  aaaaaaaaaaaa  repository\n"
        "people@1.4.0  bbbbbbbbbbbb  repository\n"
        "people@1.5.0  cccccccccccc  repository\n"
        "people@1.6.0  dddddddddddd  repository  incomplete\n"
    )


def test_list_for_programs(serve: Serve) -> None:
    run = edge_agent("model", "list", "--json", "--socket", serve(FakeControls()))
    listed = json.loads(run.stdout)
    assert listed["slots"]["people"] == {**msgspec.to_builtins(reported()), "at": listed["slots"]["people"]["at"]}
    assert len(listed["stored"]) == 4


def test_install_until_it_serves(serve: Serve) -> None:
    controls = FakeControls()
    run = edge_agent("model", "install", "people@1.4.0", "--socket", serve(controls))
    assert lines_of(run) == [
        "people: people@1.4.0 accepted",
        "people: people@1.4.0 downloading 40 %",
        "people: people@1.4.0 deferred (window)",
        "people: people@1.4.0 probation 50 %",
    ]
    assert run.stdout == "people: people@1.4.0 serves; 41 ms without an answer, 0 frames lost\n"
    assert run.returncode == 0
    ((op, slot, name, version, by, force),) = controls.calls
    assert (op, slot, name, version, force) == ("install", "people", "people", "1.4.0", "")
    assert by.startswith("local:")


def test_a_terminal_has_one_line_that_changes(serve: Serve) -> None:
    path = serve(FakeControls())
    outer, inner = pty.openpty()
    with open(outer, "rb", buffering=0) as terminal:  # noqa: PTH123  a descriptor
        with open(inner, "wb", buffering=0) as stderr:  # noqa: PTH123
            run = subprocess.run(
                [*COMMAND, "model", "install", "people@1.4.0", "--socket", str(path)],
                stdout=subprocess.PIPE,
                stderr=stderr,
                check=False,
                timeout=60,
                env=environment(None),
            )
            assert run.returncode == 0
        shown = terminal.read(65536).decode()
    assert "\r\x1b[Kpeople: people@1.4.0 downloading 80 %\r\x1b[Kpeople: people@1.4.0 deferred" in shown
    assert shown.endswith("\r\x1b[K")
    assert "\n" not in shown


def test_install_that_fails(serve: Serve) -> None:
    run = edge_agent("model", "install", "poeple@1.4.0", "--socket", serve(FakeControls()))
    assert run.returncode == 1
    assert lines_of(run)[-1] == ("edge-agent: people: failed: not_found in accepted: there is no poeple@1.4.0; it has people@1.3.0")


def test_without_waiting(serve: Serve) -> None:
    controls = FakeControls()
    run = edge_agent("model", "install", "people@1.4.0", "--no-wait", "--force", "--socket", serve(controls))
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert controls.calls[0][-1] == "force"
    assert len(controls.to_come) == 6


def test_activate_takes_what_is_in_the_store(serve: Serve) -> None:
    controls = FakeControls()
    path = serve(controls)
    run = edge_agent("model", "activate", "people@1.4.0", "--socket", path)
    assert run.returncode == 0
    run = edge_agent("model", "activate", "people@1.4.1", "--socket", path)
    assert run.returncode == 1
    assert lines_of(run)[0].startswith("edge-agent: the store has no people@1.4.1; did you mean people@1.")
    assert len(controls.calls) == 1


def test_rollback(serve: Serve) -> None:
    controls = FakeControls()
    run = edge_agent("model", "rollback", "--socket", serve(controls))
    assert run.returncode == 0
    assert run.stdout == "people: people@1.3.0 serves\n"
    assert controls.calls[0][:2] == ("rollback", "people")


def test_verify(serve: Serve) -> None:
    path = serve(FakeControls())
    run = edge_agent("model", "verify", "people@1.4.0", "--socket", path)
    assert (run.returncode, run.stdout) == (0, f"people@1.4.0 is whole: {'b' * 64}\n")
    run = edge_agent("model", "verify", "people@1.5.0", "--socket", path)
    assert (run.returncode, lines_of(run)) == (1, ["edge-agent: people@1.5.0: model.onnx: it is damaged"])


def test_several_slots(serve: Serve) -> None:
    controls = FakeControls(slots=("people", "night"))
    path = serve(controls)
    run = edge_agent("model", "install", "people@1.4.0", "--socket", path)
    assert (run.returncode, lines_of(run)) == (2, ["edge-agent: which model slot? Say --slot SLOT; there is people, night"])
    run = edge_agent("model", "rollback", "--slot", "nigt", "--socket", path)
    assert (run.returncode, lines_of(run)) == (2, ["edge-agent: --slot nigt: there is no such model slot; did you mean night?"])
    assert controls.calls == []
    assert edge_agent("model", "rollback", "--slot", "night", "--socket", path).returncode == 0


class Overtaken(FakeControls):
    """Another operator is faster."""

    def install(self, slot: str, name: str, version: str, by: str, *, force: bool) -> None:
        super().install(slot, name, version, by, force=force)
        self.to_come = [*self.to_come[:2], reported("accepted", deployment="d-9", by="anna")]


def test_another_deployment_takes_its_place(serve: Serve) -> None:
    run = edge_agent("model", "install", "people@1.4.0", "--socket", serve(Overtaken()))
    assert run.returncode == 1
    assert lines_of(run)[-1] == "edge-agent: people: deployment d-9, by anna, has taken its place"


@pytest.mark.parametrize("words", ["list", "install a@1.0.0", "activate a@1.0.0", "rollback", "verify a@1.0.0"])
def test_no_agent(words: str, tmp_path: Path) -> None:
    run = edge_agent("model", *words.split(), "--socket", tmp_path / "control.sock")
    assert run.returncode == 1
    (line,) = lines_of(run)
    assert line.startswith(f"edge-agent: no agent runs here: nobody listens at {tmp_path}/control.sock; ")


@pytest.mark.parametrize("bundle", ["people", "people@", "people@newest", "@1.0.0", "../x@1.0.0"])
def test_what_is_no_bundle(bundle: str, tmp_path: Path) -> None:
    run = edge_agent("model", "install", bundle, "--socket", tmp_path / "control.sock")
    assert (run.returncode, lines_of(run)) == (
        2,
        [f"edge-agent: expected BUNDLE@VERSION, such as people@1.4.0, got {bundle}"],
    )
