"""scripts/demo.sh's program: broker, agent, subscriber and desk, with the belt for a camera."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.waiting import DEADLINE_S, wait_until

COMMAND = [sys.executable, "-W", "error", "-m", "scripts.demo"]
FRAMES = re.compile(r"([\d,]+) frames, (\d+) lost: +[\d.]+ fps")
NAMED = re.compile(
    r"^([\d.]+): parts named ([\d.]+) % \(([\d,]+) of ([\d,]+) that were in view.*\), springs ([\d.]+) %$", re.MULTILINE
)
SWITCH = re.compile(r"^switch to 1\.1\.0: gap [\d.]+ ms from answer to answer, 33\.3 ms is usual; 0 frames lost$", re.MULTILINE)


@contextmanager
def started(folder: Path, *arguments: str | Path) -> Iterator["subprocess.Popen[str]"]:
    """The demo, with `folder` for its temporary one, which must be empty in the end."""
    demo = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    try:
        yield demo
    finally:
        if demo.poll() is None:
            demo.terminate()
            demo.communicate(timeout=DEADLINE_S)


def nothing_is_left(folder: Path) -> bool:
    """No file, and no process that was told of the folder."""
    told = [path for path in Path("/proc").glob("[0-9]*/environ") if f"TMPDIR={folder}\0" in read(path)]
    return not told and not list(folder.iterdir())


def read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # it has ended, or is not ours
        return ""


def lines_until(demo: "subprocess.Popen[str]", text: str) -> list[str]:
    assert demo.stdout is not None
    lines = []
    for line in iter(demo.stdout.readline, ""):
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"no {text!r} in: {''.join(lines)}")


def test_names_the_parts_on_the_belt_and_leaves_a_clip(tmp_path: Path) -> None:
    temporary, album = tmp_path / "temporary", tmp_path / "album"
    temporary.mkdir()
    with started(temporary, "--seconds", "6", "--save", album) as demo:
        out, err = demo.communicate(timeout=DEADLINE_S * 3)
    assert (demo.returncode, err) == (0, "")
    frames, named = FRAMES.search(out), NAMED.search(out)
    assert frames, out
    assert named, out
    assert int(frames[1]) > 30
    assert int(named[4].replace(",", "")) > int(frames[1])
    assert named[1] == "1.0.0"
    assert float(named[2]) > 75  # of six kinds it knows five
    assert float(named[5]) == 0
    assert "mosquitto_sub -h 127.0.0.1 -p" in out
    assert (album / "belt.annotated.mp4").stat().st_size > 10_000
    wait_until(lambda: nothing_is_left(temporary), "its processes' end")


def test_swaps_the_model_under_the_belt_and_refuses_a_broken_one(tmp_path: Path) -> None:
    with started(tmp_path) as demo:
        told = "".join(lines_until(demo, "rejected:"))
        demo.send_signal(signal.SIGINT)
        rest, err = demo.communicate(timeout=DEADLINE_S)
    assert (demo.returncode, err) == (0, "")
    for state in ("accepted", "vetting", "probation", "committed"):
        assert f"device  {state}: " in told
    assert "edge-fleet deploy parts@1.2.0 --slot parts --device demo" in told
    assert SWITCH.search(rest), rest
    assert "1.1.0 committed\n1.2.0 rejected (golden_mismatch): " in rest
    before, after = NAMED.finditer(rest)
    assert (before[1], after[1]) == ("1.0.0", "1.1.0")
    assert float(before[5]) == 0
    assert float(after[5]) >= 95
    assert float(after[2]) >= 95
    wait_until(lambda: nothing_is_left(tmp_path), "its processes' end")


@pytest.mark.parametrize(
    ("moment", "sent"),
    [
        ("listen too", signal.SIGINT),
        (" fps ", signal.SIGTERM),
        ("edge-fleet publish", signal.SIGINT),
        ("vetting:", signal.SIGTERM),
    ],
)
def test_ends_cleanly_at_any_moment(tmp_path: Path, moment: str, sent: signal.Signals) -> None:
    with started(tmp_path) as demo:
        lines_until(demo, moment)
        demo.send_signal(sent)
        rest, err = demo.communicate(timeout=DEADLINE_S)
    assert (demo.returncode, err) == (0, "")
    assert FRAMES.search(rest) or moment == "listen too"
    wait_until(lambda: nothing_is_left(tmp_path), "its processes' end")


def test_ends_cleanly_while_it_makes_its_repository(tmp_path: Path) -> None:
    with started(tmp_path) as demo:
        wait_until(lambda: bool(list(tmp_path.glob("edge-agent-demo-*/repository.keys"))), "its first key")
        demo.send_signal(signal.SIGINT)
        out, err = demo.communicate(timeout=DEADLINE_S)
    assert (demo.returncode, out, err) == (0, "", "")
    wait_until(lambda: nothing_is_left(tmp_path), "its processes' end")
