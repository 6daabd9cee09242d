"""edge-fleet's verbs that talk to devices, against a real mosquitto and devices that follow."""

import argparse
import json
import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.bundles.trust import Release
from agent.errors import AgentError, BundleError, UsageError
from agent.fleet import deploy as deploy_verb
from agent.fleet.main import main
from agent.publish.orders import CurrentBundle, Desired
from tests.certificates import Authority
from tests.fleet_devices import OLD, SLOT, Ending, FakeDevices, unix_ms
from tests.mosquitto import PROGRAM, Mosquitto, Subscriber, free_port

ACL = Path(__file__).parents[2] / "docs/acl/mosquitto.acl"
FLEET = [sys.executable, "-W", "error", "-m", "agent.fleet.main"]
LABELS = {
    "gate-01": {"site": "lyon", "ring": "canary"},
    "gate-02": {"site": "lyon", "ring": "wide"},
    "gate-03": {"site": "paris", "ring": "wide"},
}


RELEASES = (
    Release("people", "1.2.0", OLD.digest, 900),
    Release("people", "1.3.0", "3" * 64, 900),
    Release("people", "1.4.0", "4" * 64, 900, "misses people at night"),
    Release("cars_small", "2.0.0-rc.1", "5" * 64, 900),
)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as broker:
        yield broker


@pytest.fixture
def at(broker: Mosquitto) -> list[str]:
    return ["--mqtt", f"{broker.host}:{broker.port}"]


def deploy(*words: str) -> int:
    """The verb, with a repository that holds RELEASES."""
    parser = argparse.ArgumentParser()
    deploy_verb.add_parser(parser.add_subparsers())
    return deploy_verb.deploy(parser.parse_args(["deploy", *words]), lambda _folder: RELEASES)


def deployed(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """Deploy with --json; what it said."""
    assert deploy(*words, "--json") == 0
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return said


def rows_of(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, dict[str, Any]]:
    """What status --json says, by device."""
    capsys.readouterr()
    assert main(["status", *words, "--json"]) in (0, 1)
    return {row["device"]: row for row in json.loads(capsys.readouterr().out)["rows"]}


def test_a_deployment_by_labels_until_all_have_committed(
    broker: Mosquitto, at: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeDevices(broker, LABELS) as devices:
        began_ms = unix_ms()
        said = deployed(
            *(capsys, "people@1.3.0", "--slot", SLOT, "--select", "site=lyon", "--spread", "1h", "--swap", "beside"),
            *("--probation", "30m", "--probation-frames", "900", "--not-after", "2026-11-25T05:00:00Z", "--force", *at),
        )
        assert main(["status", "--deployment", said["deployment"], "--wait", "20s", *at]) == 0
    assert re.fullmatch(r"people-1\.3\.0-\d{8}T\d{6}-[0-9a-f]{4}", said["deployment"])
    assert devices.heard["gate-03"] == []
    for name in ("gate-01", "gate-02"):
        (desired,) = devices.heard[name]
        assert began_ms <= desired.rev <= unix_ms()
        assert (desired.bundle, desired.version, desired.digest) == ("people", "1.3.0", "3" * 64)
        assert (desired.deployment, desired.not_after) == (said["deployment"], "2026-11-25T05:00:00.000Z")
        assert "@" in desired.by
        policy = msgspec.structs.asdict(desired.policy)
        assert policy == {"spread_s": 3600, "swap": "beside", "probation_s": 1800, "probation_frames": 900, "force": True}
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["DEVICE", "ONLINE", "SLOT", "HAS", "STATE"]
    assert out[1].split() == ["gate-01", "yes", "people", "people", "1.3.0", "committed"]
    assert out[-2] == "2 devices, 2 online: 2 committed"


def test_a_rev_is_above_all_that_the_slot_has_seen(broker: Mosquitto, at: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    ahead = unix_ms() + 86_400_000
    with FakeDevices(broker, {"gate-01": {}, "gate-02": {}}) as devices:
        devices._report("gate-01", "idle", rev_seen=ahead)
        with Subscriber(broker, "edge/v1/gate-01/models/#") as listener:
            listener.wait_for(lambda message: json.loads(message.payload)["rev_seen"] == ahead)
        first = deployed(capsys, "people@1.3.0", "--slot", SLOT, "--device", "gate-01", "--device", "gate-02", *at)
        second = deployed(capsys, "people@1.2.0", "--slot", SLOT, "--device", "gate-01", "--device", "gate-02", *at)
    revs = [{wish["device"]: wish["desired"]["rev"] for wish in said["wishes"]} for said in (first, second)]
    assert [rev["gate-01"] for rev in revs] == [ahead + 1, ahead + 2]
    assert revs[0]["gate-02"] < revs[1]["gate-02"] < ahead


def test_what_cannot_be_deployed(broker: Mosquitto, at: list[str]) -> None:
    cases: list[tuple[list[str], type[AgentError], str]] = [
        (["people@1.4.0", "--device", "gate-01"], BundleError, r"people@1\.4\.0 is withdrawn \(misses people at night\)"),
        (["people@1.3.1", "--device", "gate-01"], BundleError, r"people@1\.3\.1 is not published; did you mean 1\.\d\.0\?"),
        (["peple@1.3.0", "--device", "gate-01"], BundleError, "peple@1.3.0 is not published; did you mean people"),
        (["people", "--device", "gate-01"], UsageError, "people: expected NAME@VERSION"),
        (["people@1.3.0", "--select", "ring=canari"], UsageError, "no device has the label ring=canari; did you mean ring=canary"),
        (["people@1.3.0", "--device", "gate-01", "--spread", "9d"], UsageError, "--spread"),
    ]
    with FakeDevices(broker, LABELS) as devices:
        for words, kind, text in cases:
            with pytest.raises(kind, match=text) as caught:
                deploy(*words, "--slot", SLOT, *at)
            assert "\n" not in str(caught.value)
        assert not any(devices.heard.values())


def test_options_of_deploy(capsys: pytest.CaptureFixture[str]) -> None:
    for words, text in (
        ([], "one of the arguments --device --select is required"),
        (["--device", "gate/01"], "argument --device: expected a device's id, got 'gate/01'"),
        (["--select", "lyon"], "argument --select: expected lyon=VALUE, got 'lyon'"),
        (["--device", "gate-01", "--not-after", "soon"], "argument --not-after: expected a time from now such as 6h"),
        (["--device", "gate-01", "--spread", "1 h"], "argument --spread: expected a time such as 90s, 5m, 1h or 2d, got '1 h'"),
    ):
        assert main(["deploy", "people@1.3.0", "--slot", SLOT, *words]) == 2
        assert text in capsys.readouterr().err


def test_devices_that_are_away_unknown_or_without_the_slot(
    broker: Mosquitto, at: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeDevices(broker, LABELS, silent=["gate-02"]) as devices:
        assert deploy("people@1.3.0", "--slot", SLOT, "--device", "gate-02", "--device", "gate-99", *at) == 0
        out = capsys.readouterr().out.splitlines()
        assert out[0] == "gate-02: has people 1.2.0; offline: it gets the wish when it connects"
        assert out[1].startswith("gate-99: has told of no model there; the broker does not know it: is the name right?")
        deployment = out[2].split()[1].rstrip(":")
        rows = rows_of(capsys, "--deployment", deployment, *at)
        assert {name: (row["state"], row["outcome"]) for name, row in rows.items()} == {
            "gate-02": ("sent", "going"),
            "gate-99": ("sent", "going"),
        }
        devices.wake("gate-02")
        rows = rows_of(capsys, "--deployment", deployment, "--device", "gate-02", "--wait", "20s", *at)
        assert rows["gate-02"]["outcome"] == "committed"
        with pytest.raises(UsageError, match="none of the devices that were selected has a slot faces"):
            deploy("people@1.3.0", "--slot", "faces", "--select", "site=lyon", *at)
        assert "gate-01 is left out: it has no slot faces, but people" in capsys.readouterr().err
        assert deploy("people@1.3.0", "--slot", "faces", "--device", "gate-01", *at) == 0
        assert "it has no slot faces" in capsys.readouterr().out


def test_a_dry_run_publishes_nothing(broker: Mosquitto, at: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with FakeDevices(broker, LABELS) as devices:
        assert deploy("cars_small@2.0.0-rc.1", "--slot", SLOT, "--select", "site=lyon", "--dry-run", *at) == 0
        out = capsys.readouterr().out
        said = deployed(capsys, "cars_small@2.0.0-rc.1", "--slot", SLOT, "--device", "gate-03", *at)
        devices.wait_for("gate-03", "committed")
        assert devices.heard["gate-01"] == devices.heard["gate-02"] == []
    assert "would be deployed: cars_small 2.0.0-rc.1 (555555555555) for slot people of 2 devices" in out
    assert said["deployment"].startswith("cars-small-2.0.0-rc.1-")


def other_wish(rev: int) -> bytes:
    return msgspec.json.encode(
        Desired(rev=rev, deployment="bens", bundle="people", version="1.1.0", digest="1" * 64, by="ben@desk-2")
    )


def test_two_operators(broker: Mosquitto, at: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The second one's wish comes between the first one's publishing and reading back, however fast that is."""
    topic = f"edge-ctl/v1/gate-01/models/{SLOT}/desired"

    def answer(client: Any, _data: Any, message: Any) -> None:
        if json.loads(message.payload)["deployment"] != "bens":
            client.publish(topic, other_wish(unix_ms() + 5000), qos=1, retain=True)

    def configure(client: Any) -> None:
        heard = client.on_message

        def both(*arguments: Any) -> None:
            answer(*arguments)
            heard(*arguments)

        client.on_message = both

    with Subscriber(broker, topic, configure=configure) as second:
        assert deploy("people@1.3.0", "--slot", SLOT, "--device", "gate-01", "--device", "gate-02", *at) == 1
        second.wait_for(lambda message: b"bens" in message.payload)
    (problem,) = capsys.readouterr().err.splitlines()
    assert "gate-01: another operator's wish stands there: people 1.1.0 by ben@desk-2 (deployment bens, rev " in problem
    assert problem.endswith("agree with them, and deploy again")


def test_a_rollback_of_a_fleet(broker: Mosquitto, at: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    names = ("took-it", "failed", "busy", "away", "fresh", "newer")
    endings = {"failed": Ending("rolled_back", "crashed", "probation"), "busy": Ending("downloading")}
    with FakeDevices(broker, {name: {"all": "1"} for name in names}, endings=endings, silent=["away"]) as devices:
        devices._report("fresh", "idle", current=None)
        said = deployed(capsys, "people@1.3.0", "--slot", SLOT, "--select", "all=1", *at)
        for name, state in {"took-it": "committed", "fresh": "committed", "failed": "rolled_back", "busy": "downloading"}.items():
            devices.wait_for(name, state)
        deployed(capsys, "people@1.2.0", "--slot", SLOT, "--device", "newer", *at)
        devices.wait_for("newer", "committed")
        assert main(["rollback", said["deployment"], "--dry-run", *at]) == 1
        assert main(["rollback", said["deployment"], *at]) == 1
        shown = capsys.readouterr()
        devices.wake("away")
        for name in ("took-it", "away"):
            devices.wait_for(name, "committed")
    last = {name: heard[-1] for name, heard in devices.heard.items()}
    for name in ("took-it", "failed", "busy", "away"):
        assert (last[name].version, last[name].digest) == (OLD.version, OLD.digest), name
        assert last[name].deployment.startswith("rollback-of-people-1.3.0-")
    assert last["fresh"].version == "1.3.0"
    assert "fresh, slot people: it has no previous bundle: deploy another version to it, or: edge-fleet cmd factory" in shown.err
    assert "took-it: slot people back to people 1.2.0\n" in shown.out
    assert "away: slot people back to people 1.2.0; offline: it gets the wish when it connects" in shown.out
    assert f"takes {said['deployment']} back on 4 of 5" in shown.out
    assert "newer" not in shown.out


def test_a_device_that_was_given_something_newer_is_left_alone(
    broker: Mosquitto, at: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeDevices(broker, {"gate-01": {}}) as devices:
        said = deployed(capsys, "people@1.3.0", "--slot", SLOT, "--device", "gate-01", *at)
        devices.wait_for("gate-01", "committed")
        devices._silent.add("gate-01")
        deployed(capsys, "people@1.2.0", "--slot", SLOT, "--device", "gate-01", *at)
        assert main(["rollback", said["deployment"], *at]) == 1
        assert "left alone: it has been given something newer, people 1.2.0 by " in capsys.readouterr().err
        assert main(["rollback", "no-such", *at]) == 2
        assert "no device has a deployment no-such" in capsys.readouterr().err
        assert len(devices.heard["gate-01"]) == 2


def test_what_went_wrong_in_words(broker: Mosquitto, at: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    endings = {"gate-01": Ending("rejected", "golden_mismatch"), "gate-02": Ending("probation")}
    with FakeDevices(broker, LABELS, endings=endings) as devices:
        said = deployed(capsys, "people@1.3.0", "--slot", SLOT, *(word for name in LABELS for word in ("--device", name)), *at)
        for name, state in {"gate-01": "rejected", "gate-02": "probation", "gate-03": "committed"}.items():
            devices.wait_for(name, state)
        assert main(["status", "--deployment", said["deployment"], "--wait", "1s", *at]) == 1
        out = capsys.readouterr().out.splitlines()
        withdrawn = CurrentBundle(name="people", version="1.3.0", digest="3" * 64, withdrawn=True)
        newest = msgspec.convert({"name": "people", "version": "1.5.0", "digest": "6" * 64}, type(OLD))
        devices._report("gate-03", "committed", current=withdrawn, available=newest)
        devices._publish("edge/v1/gate-04/models/people/reported", b'{"state": "dreaming"}')
        with Subscriber(broker, "edge/v1/gate-04/#") as listener:
            listener.wait_topic("edge/v1/gate-04/models/people/reported")
        rows = rows_of(capsys, *at)
        assert main(["status", *at]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == f"deployment {said['deployment']}: 1 committed, 1 under way, 1 failed"
    assert re.sub(" +", " ", out[1]) == (
        "gate-01 yes people people 1.2.0 rejected; "
        "it does not see what it must on its samples (golden_mismatch in vetting): bus.jpg"
    )
    assert re.sub(" +", " ", out[2]) == "gate-02 yes people people 1.2.0 probation 45 %"
    assert out[-2] == "3 devices, 3 online: 1 committed, 1 under way, 1 failed"
    assert rows["gate-03"]["notes"] == ["what it has is withdrawn", "people 1.5.0 is available"]
    assert rows["gate-04"]["notes"] == ["says what this edge-fleet does not understand: update it"]
    assert rows["gate-04"]["online"] is None


def test_a_wait_ends_when_something_newer_takes_over(broker: Mosquitto, at: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with FakeDevices(broker, {"gate-01": {}}, endings={"gate-01": Ending("downloading")}) as devices:
        said = deployed(capsys, "people@1.3.0", "--slot", SLOT, "--device", "gate-01", *at)
        devices.wait_for("gate-01", "downloading")
        waiting = subprocess.Popen(
            [*FLEET, "status", "--deployment", said["deployment"], "--watch", "--wait", "60s", *at],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert waiting.stdout is not None
        assert "downloading" in waiting.stdout.readline()
        deployed(capsys, "people@1.2.0", "--slot", SLOT, "--device", "gate-01", *at)
        rest, _ = waiting.communicate(timeout=30)
    assert "superseded; a newer wish has come" in rest
    assert waiting.returncode == 1


def test_a_wait_outlives_the_broker(broker: Mosquitto, at: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with FakeDevices(broker, {"gate-01": {}}, endings={"gate-01": Ending("downloading")}) as devices:
        said = deployed(capsys, "people@1.3.0", "--slot", SLOT, "--device", "gate-01", *at)
        devices.wait_for("gate-01", "downloading")
        waiting = subprocess.Popen(
            [*FLEET, "status", "--deployment", said["deployment"], "--watch", "--wait", "60s", *at],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert waiting.stdout is not None
        assert waiting.stderr is not None
        assert "downloading" in waiting.stdout.readline()
        broker.kill()
        assert "(trying again)" in waiting.stderr.readline()
        reported = devices.reported["gate-01"]
    broker.start()
    with FakeDevices(broker, {"gate-01": {}}) as devices:
        devices._report("gate-01", "committed", deployment=reported.deployment, rev_seen=reported.rev_seen)
        rest, _ = waiting.communicate(timeout=60)
    assert "committed" in rest
    assert waiting.returncode == 0


def on_terminal(*words: str) -> tuple[int, str]:
    """Run edge-fleet on a pseudo terminal; its status and all that it wrote there."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    process = subprocess.Popen([*FLEET, *words], stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    written = bytearray()

    def read() -> None:
        try:
            while chunk := os.read(ours, 4096):
                written.extend(chunk)
        except OSError:  # the other end is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    status = process.wait(60)
    reader.join()
    os.close(ours)
    return status, written.decode()


def test_the_live_table_on_a_terminal(broker: Mosquitto, at: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    endings = {"gate-01": Ending("rolled_back", "crashed", "probation")}
    with FakeDevices(broker, LABELS, endings=endings, silent=["gate-02"]) as devices:
        said = deployed(capsys, "people@1.3.0", "--slot", SLOT, "--device", "gate-01", "--device", "gate-02", *at)
        devices.wait_for("gate-01", "rolled_back")
        results: list[tuple[int, str]] = []
        watching = threading.Thread(
            target=lambda: results.append(
                on_terminal("status", "--deployment", said["deployment"], "--watch", "--wait", "50s", *at)
            )
        )
        watching.start()
        devices.wake("gate-02")
        watching.join()
    ((status, text),) = results
    assert status == 1
    assert "\x1b[" in text
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert "2 devices, 2 online: 1 committed, 1 failed" in plain
    assert re.search(r"gate-01 +yes +people +people 1\.2\.0 +rolled_back +it crashed \(crashed in probation\)", plain)


def test_commands_and_their_answers(broker: Mosquitto, at: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with FakeDevices(broker, LABELS, silent=["gate-02"]), Subscriber(broker, "edge-ctl/v1/+/cmd") as listener:
        assert main(["cmd", "pause", "--device", "gate-01", "pipeline=gate", *at]) == 0
        assert capsys.readouterr().out == 'gate-01: done, {"pipeline":"gate"}\n'
        sent = json.loads(listener.wait_topic("edge-ctl/v1/gate-01/cmd").payload)
        assert (sent["op"], sent["args"]) == ("pause", {"pipeline": "gate"})
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", sent["expires_at"])
        assert not any(message.retain for message in listener.messages)
        assert main(["cmd", "pause", "pipeline=gate", "--select", "site=lyon", "--device", "gate-01", *at]) == 2
        capsys.readouterr()
        assert main(["cmd", "resume", "pipeline=gate", "--device", "gate-01", "--device", "gate-02", "--device", "x", *at]) == 1
        assert capsys.readouterr().out.splitlines() == [
            'gate-01: done, {"pipeline":"gate"}',
            "gate-02: not sent: the device is offline",
            "x: not sent: the broker does not know this device; is the name right?",
            "resume: done by 1 of 3 devices",
        ]
        assert main(["cmd", "factory", "--select", "ring=canary", "slot=people", *at]) == 1
        assert capsys.readouterr().out == "gate-01: factory is not allowed here: see mqtt.commands\n"
        assert main(["cmd", "pawse", "--device", "gate-01", *at]) == 2
        assert "there is no command pawse; did you mean pause?" in capsys.readouterr().err


def test_a_device_that_does_not_answer(broker: Mosquitto, at: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with FakeDevices(broker, {}) as devices:
        devices._publish("edge/v1/gate-01/availability", b"online")
        with Subscriber(broker, "edge/v1/gate-01/#") as listener:
            listener.wait_topic("edge/v1/gate-01/availability")
        assert main(["cmd", "pause", "--device", "gate-01", "pipeline=gate", "--timeout", "1s", *at]) == 1
    assert capsys.readouterr().out == "gate-01: no answer within 1 s\n"


def test_three_hundred_devices(broker: Mosquitto, at: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"cam-{number:03d}" for number in range(300)]
    endings = {"cam-007": Ending("failed", "network", "downloading")}
    with FakeDevices(broker, {name: {"site": "lyon"} for name in names}, endings=endings) as devices:
        said = deployed(capsys, "people@1.3.0", "--slot", SLOT, "--select", "site=lyon", *at)
        assert len(said["wishes"]) == 300
        assert main(["status", "--deployment", said["deployment"], "--wait", "60s", *at]) == 1
        lines = capsys.readouterr().out.splitlines()
        assert lines[1].startswith("cam-007")
        assert lines[-2] == "300 devices, 300 online: 299 committed, 1 failed"
        assert main(["rollback", said["deployment"], *at]) == 0
        devices.wait_for("cam-299", "committed")
        assert main(["cmd", "pause", "--select", "site=lyon", "pipeline=gate", *at]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == "pause: done by 300 of 300 devices"
    assert {heard[-1].version for heard in devices.heard.values()} == {OLD.version}


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Mosquitto]:
    """A mosquitto with the access list of docs/acl; each user's password is its name."""
    if PROGRAM is None:
        pytest.skip("mosquitto is not installed")
    passwords = tmp_path / "passwd"
    passwords.touch(0o600)
    for user in ("operator", "viewer", "gate-01"):
        subprocess.run(["mosquitto_passwd", "-b", str(passwords), user, user], check=True)
        (tmp_path / user).write_text(user)
        (tmp_path / user).chmod(0o600)
    with Mosquitto(tmp_path, ["allow_anonymous false", f"password_file {passwords}", f"acl_file {ACL}"]) as broker:
        yield broker


def as_user(broker: Mosquitto, folder: Path, user: str) -> list[str]:
    return ["--mqtt", f"{broker.host}:{broker.port}", "--username", user, "--password-file", str(folder / user)]


def test_the_rights_of_an_operator(guarded: Mosquitto, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    operator = as_user(guarded, tmp_path, "operator")
    with FakeDevices(guarded, {"gate-01": {}}, username="gate-01") as devices:
        said = deployed(capsys, "people@1.3.0", "--slot", SLOT, "--device", "gate-01", *operator)
        devices.wait_for("gate-01", "committed")
        assert main(["status", "--deployment", said["deployment"], "--wait", "20s", *operator]) == 0
        assert main(["rollback", said["deployment"], *operator]) == 0
        assert main(["cmd", "pause", "--device", "gate-01", "pipeline=gate", *operator]) == 0
        assert main(["forget", "gate-01", *operator]) == 1
        assert "gate-01 is online, and would write again what is cleared" in capsys.readouterr().err
        devices._publish("edge/v1/gate-01/availability", b"offline")
        with Subscriber(
            guarded, "edge/v1/gate-01/#", configure=lambda client: client.username_pw_set("viewer", "viewer")
        ) as viewer:
            viewer.wait_topic("edge/v1/gate-01/availability", b"offline")
    for protocol in ("3.1.1", "5"):  # the first tells nothing of rights
        assert main(["forget", "gate-01", "--protocol", protocol, *operator]) == 0
        out = capsys.readouterr().out
        assert ("cleared edge-ctl/v1/gate-01/models/people/desired\n" in out) == (protocol == "3.1.1")
        assert "left    edge/v1/gate-01/info\n" in out
        assert "what is left under edge/v1/gate-01 only a user may clear whom the broker's access list lets write there" in out


def test_a_viewer_cannot_deploy_but_can_look(guarded: Mosquitto, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    viewer = as_user(guarded, tmp_path, "viewer")
    with FakeDevices(guarded, {"gate-01": {}}, username="gate-01") as devices:
        assert main(["status", *viewer]) == 0
        for protocol, text in {
            "5": "does not let user 'viewer' publish to edge-ctl/v1/gate-01/models/people/desired: check its access list",
            "3.1.1": "gives nothing of what was published back: may user 'viewer' write and read edge-ctl/v1/#? See docs/acl",
        }.items():
            assert deploy("people@1.3.0", "--slot", SLOT, "--device", "gate-01", "--protocol", protocol, *viewer) == 1
            assert text in capsys.readouterr().err
        assert main(["cmd", "pause", "--device", "gate-01", "pipeline=gate", *viewer]) == 1
        assert "does not let user 'viewer' publish to edge-ctl/v1/gate-01/cmd" in capsys.readouterr().out
        assert devices.heard["gate-01"] == []


def fails(*words: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
    """Run edge-fleet; its status, and the one line that it complains in."""
    run = subprocess.run(
        [*FLEET, *words], capture_output=True, text=True, check=False, timeout=60, env={**os.environ, **(environment or {})}
    )
    (line,) = run.stderr.splitlines()
    return run.returncode, line


def test_a_wrong_password(guarded: Mosquitto, tmp_path: Path) -> None:
    (tmp_path / "operator").write_text("guess")
    text = (
        f"edge-fleet: MQTT broker 127.0.0.1:{guarded.port} refuses user 'operator' (not authorized): "
        "check --username, --password-file and its access list"
    )
    assert fails("status", *as_user(guarded, tmp_path, "operator")) == (1, text)
    address = f"127.0.0.1:{guarded.port}"
    said = {"EDGE_FLEET_MQTT": address, "EDGE_FLEET_USERNAME": "operator", "EDGE_FLEET_PASSWORD": "guess"}
    assert fails("status", environment=said) == (1, text)
    said |= {"EDGE_FLEET_PASSWORD": "operator"}
    status, line = fails("status", environment=said)
    assert status == 1
    assert "has nothing of any device: has none connected yet, or may user 'operator' not read edge/v1/#?" in line


def test_a_broker_that_is_away_or_silent(broker: Mosquitto, at: list[str]) -> None:
    port = free_port()
    status, line = fails("status", "--mqtt", f"127.0.0.1:{port}")
    assert (status, line.partition(":")[0]) == (1, "edge-fleet")
    assert f"MQTT broker 127.0.0.1:{port} refuses the connection: nothing listens there" in line
    status, line = fails("status", "--mqtt", "no-such-host.invalid")
    assert status == 1
    assert "host name 'no-such-host.invalid' is not known: check --mqtt and the DNS" in line
    broker.suspend()
    try:
        status, line = fails("cmd", "pause", "--device", "gate-01", "pipeline=gate", *at)
    finally:
        broker.resume()
    assert status == 1
    assert "takes the connection but does not answer" in line


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "no broker: say --mqtt HOST[:PORT], or set EDGE_FLEET_MQTT"),
        (["--mqtt", "mqtt://broker.example"], "--mqtt mqtt://broker.example: expected HOST or HOST:PORT"),
        (["--mqtt", "localhost", "--password-file", "absent"], "--password-file: absent: No such file or directory"),
        (["--mqtt", "localhost", "--ca", "absent"], "--ca: absent: No such file or directory"),
        (["--mqtt", "localhost", "--key", "absent"], "--key: there is no --cert that it could belong to"),
        (["--mqtt", "localhost", "--wait", "1h"], "--wait: for which deployment? say --deployment ID"),
        (["--mqtt", "localhost", "--prefix", "a/b"], "--prefix a/b: expected letters"),
    ],
)
def test_wrong_options(words: list[str], text: str) -> None:
    status, line = fails("status", *words)
    assert status == 2
    assert line.startswith(f"edge-fleet: {text}")


def test_a_password_that_others_can_read(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret")
    (tmp_path / "password").chmod(0o644)
    status, line = fails("status", "--mqtt", "localhost", "--username", "me", "--password-file", str(tmp_path / "password"))
    assert (status, line) == (
        2,
        f"edge-fleet: --password-file: others can read {tmp_path}/password; run: chmod 600 {tmp_path}/password",
    )


def test_a_client_certificate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    authority = Authority(tmp_path)
    server, operator = authority.issue("server"), authority.issue("operator")
    tls = [f"cafile {authority.cert}", f"certfile {server.cert}", f"keyfile {server.key}", "require_certificate true"]
    with Mosquitto(tmp_path, [*tls, "use_identity_as_username true", "allow_anonymous false", f"acl_file {ACL}"]) as broker:
        at = ["--mqtt", f"localhost:{broker.port}", "--ca", str(authority.cert)]
        ours = ["--cert", str(operator.cert), "--key", str(operator.key)]
        assert deploy("people@1.3.0", "--slot", SLOT, "--device", "gate-01", *at, *ours) == 0
        capsys.readouterr()
        status, line = fails("status", *at)
        assert status == 1
        assert "TLS" in line
        status, line = fails("status", "--mqtt", f"localhost:{broker.port}", "--tls")
        assert status == 1
        assert "its TLS certificate is refused" in line
        assert "check --ca" in line


def test_help_imports_little() -> None:
    """--help needs neither TUF nor rich."""
    code = (
        "import sys; from agent.fleet.main import main\n"
        "try:\n    main(['deploy', '--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'tuf', 'rich', 'cv2', 'onnxruntime', 'securesystemslib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
