"""scripts/demo.sh's program: broker, agent and subscriber, with the belt for a camera."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.waiting import DEADLINE_S

COMMAND = [sys.executable, "-W", "error", "-m", "scripts.demo"]
SUMMARY = re.compile(r"([\d,]+) frames, (\d+) lost: .* parts named ([\d.]+) % \(([\d,]+) of ([\d,]+) that were in view")


def start(*arguments: str | Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )


def test_names_the_parts_on_the_belt_and_leaves_a_clip(tmp_path: Path) -> None:
    demo = start("--seconds", "6", "--save", tmp_path)
    out, err = demo.communicate(timeout=DEADLINE_S * 3)
    assert (demo.returncode, err) == (0, "")
    summary = SUMMARY.search(out)
    assert summary, out
    frames, in_view, named_pct = int(summary[1]), int(summary[5].replace(",", "")), float(summary[3])
    assert frames > 30
    assert in_view > frames
    assert named_pct >= 95
    assert "mosquitto_sub -h 127.0.0.1 -p" in out
    assert (tmp_path / "belt.annotated.mp4").stat().st_size > 10_000


def test_ends_cleanly_on_ctrl_c() -> None:
    demo = start()
    assert demo.stdout is not None
    lines = iter(demo.stdout.readline, "")
    assert next(line for line in lines if " fps " in line)
    demo.send_signal(signal.SIGINT)
    rest, err = demo.communicate(timeout=DEADLINE_S)
    assert (demo.returncode, err) == (0, "")
    assert SUMMARY.search(rest), rest
