"""What people get wrong, and what they read then: one clear line for each mistake, the right exit status, and nothing half done."""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Self

import cv2
import numpy as np
import pytest

from agent.core.heads import HEADS
from tests.agent_process import COMMAND, edge_agent, environment, start_agent
from tests.disks import small_disk
from tests.media import cut, numbered, plain, write_picture, write_video
from tests.models import Found, write_onnx, write_tflite, yolo
from tests.mosquitto import PROGRAM, Mosquitto, Subscriber, free_port
from tests.waiting import DEADLINE_S, wait_until

FRAMES = 20
SECRET = "geheim-7f3a"  # noqa: S105  of nobody; it must not be seen anywhere
NOWHERE = "127.0.0.1:1"  # nothing listens there
BROKER_LINE = f"MQTT broker {NOWHERE} refuses the connection"  # of `run`, where a row is about something else
LONG = "long" * 80
TYPES = ", ".join(HEADS)
NOISE = np.random.default_rng(7).bytes(5000)


def write_ingredients(folder: Path) -> None:
    """What the rows of the table name."""
    found = [Found((8, 8, 40, 40))]
    onnx = write_onnx(folder / "good.onnx", [yolo(found, normalized=False)])
    tflite = write_tflite(folder / "good.tflite", [yolo(found, normalized=True)])
    write_onnx(folder / "three.onnx", [yolo(found, classes=3, normalized=False)])
    cut(onnx, 0.5)
    cut(tflite, 0.5)
    (folder / "empty.onnx").touch()
    shutil.copyfile(onnx, folder / "swapped.tflite")
    shutil.copyfile(tflite, folder / "swapped.onnx")
    (folder / "two.txt").write_text("person\ncar\n")
    (folder / "three.txt").write_text("person\ncar\nbus\n")
    (folder / "hollow").mkdir()
    (folder / "bundle").mkdir()
    for name in ("good.onnx", "two.txt", "three.txt"):
        shutil.copyfile(folder / name, folder / "bundle" / name)
    shutil.copyfile(folder / "three.onnx", folder / "bundle" / "replaced.onnx")
    cut(write_picture(folder / "white.png", plain((64, 64), (255, 255, 255))), 0.5)
    cut(write_video(folder / "clip.avi", numbered(FRAMES, (320, 240))), 0.5)
    cut(write_video(folder / "clip.mp4", numbered(FRAMES)), 0.5)
    for name in ("noise.mp4", "noise.jpg", "noise.txt"):
        (folder / name).write_bytes(NOISE)
    for name, mode in (("open", 0o644), ("closed", 0o600)):
        (folder / name).write_text(f"{SECRET}\n")
        (folder / name).chmod(mode)


@pytest.fixture(scope="module")
def ingredients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ingredients")
    write_ingredients(folder)
    return folder


@pytest.fixture
def folder(ingredients: Path, tmp_path: Path) -> Path:
    """A copy for one test."""
    shutil.copytree(ingredients, tmp_path, dirs_exist_ok=True)
    return tmp_path


class Row(NamedTuple):
    """commands: each is run in the folder, and each ends with `status` and complains in `lines`: regular expressions, one a line.

    files: name to text, written before.
    """

    commands: Sequence[str]
    status: int
    lines: Sequence[str]
    files: Mapping[str, str] = {}


VERBS = {
    "predict": "predict {} white.png --save seen",
    "show": "model show {}",
    "init": "model init {} --mean 0 --std 255 --output made",
    "check": "check config.yaml",
    "run": "run config.yaml",
}
NAMING = ("predict", "show", "init")  # the model on the command line
CONFIGURED = ("check", "run")


def config(model: str = "good.onnx", source: str = "white.png", mqtt: str = NOWHERE, more: str = "") -> dict[str, str]:
    return {"config.yaml": f"model: {model}\nsource: {source}\nmqtt: {mqtt}\nstate_dir: state\n{more}"}


def model(name: str, status: int, *lines: str, verbs: Sequence[str] = tuple(VERBS), **files: str) -> Row:
    return Row([VERBS[verb].format(name) for verb in verbs], status, lines, config(name) | files)


def bundle(text: str, *lines: str, status: int = 1) -> Row:
    """A bundle.yaml."""
    files = config("bundle") | {"bundle/bundle.yaml": text}
    return Row([VERBS[verb].format("bundle") for verb in VERBS if verb != "init"], status, lines, files)


def source(text: str, status: int, *lines: str) -> Row:
    """A source on the command line."""
    return Row([f"predict good.onnx {text} --save seen"], status, lines)


def refused(text: str, *lines: str) -> Row:
    """A config that is wrong."""
    return Row(
        [VERBS[verb] for verb in CONFIGURED], 2, [rf"^edge-agent: config\.yaml{line}" for line in lines], {"config.yaml": text}
    )


def usage(command: str, line: str) -> Row:
    """A command line that is wrong."""
    return Row([command], 2, [line])


HEAD = 'name: b\nversion: "1.0.0"\nmodel: {}\n'
FULL = (
    "sources: {{cam: {source}}}\nmodels: {{m: {{bundle: good.onnx}}}}\n"
    "pipelines: {{p: {{source: cam, model: m}}}}\nmqtt: {mqtt}\nstate_dir: state\n"
)
NO_PASSWORD = "a password may not stand in the config; put it into a file of its own and say password_file: FILE$"  # noqa: S105

ROWS = {
    # --- the model file
    "no such model": model(
        "goot.onnx", 2, r"edge-agent: goot\.onnx: there is no such model file or bundle; did you mean good\.onnx\?$", verbs=NAMING
    ),
    "no such model in a config": model(
        "goot.onnx",
        2,
        r"config\.yaml:1: model: there is no /\S+/goot\.onnx; did you mean good\.onnx\?$",
        verbs=CONFIGURED,
    ),
    "empty model": model("empty.onnx", 1, r"empty\.onnx: the file is empty$"),
    "truncated ONNX": model("cut-good.onnx", 1, r"cut-good\.onnx: an ONNX model that is cut off at \d+ bytes; copy or download it"),
    "truncated TFLite": model("cut-good.tflite", 1, r"cut-good\.tflite: LiteRT cannot load it: .*; is the file cut off\?$"),
    "no model at all": model("noise.txt", 1, r"noise\.txt: no TFLite, ONNX or OpenVINO model, but begins with [0-9a-f ]+$"),
    "a folder without bundle.yaml": model(
        "hollow", 1, r"hollow: there is no bundle\.yaml in it; edge-agent model init MODEL-FILE writes one$"
    ),
    "ONNX in a .tflite name": model("swapped.tflite", 0, verbs=("predict", "show", "check")),  # the content decides
    "TFLite in an .onnx name": model("swapped.onnx", 0, verbs=("predict", "show", "check")),
    "name@version": model(
        "people@1.0.0", 1, r"people@1\.0\.0: it is not in the store of this device; give a model file or a bundle's directory$"
    ),
    "labels that do not fit": Row(
        [VERBS[verb].format("good.onnx") + " --labels three.txt" for verb in NAMING],
        1,
        [r"good\.onnx: labels: three\.txt has 3 lines, output output0 \[1, 6, 84\] has 2 classes$"],
    ),
    "no such labels": Row(
        [VERBS[verb].format("good.onnx") + " --labels tow.txt" for verb in NAMING], 2, [r"tow\.txt: there is no such label list"]
    ),
    "labels that are no text": Row(
        [VERBS["predict"].format("good.onnx") + " --labels noise.txt"], 1, [r"noise\.txt: not UTF-8 text \(byte \d+\)$"]
    ),
    "no such delegate": Row(
        [VERBS["predict"].format(name) + " --delegate tpu9" for name in ("good.onnx", "good.tflite")],
        1,
        [r"good\.(onnx: none of the delegates tpu9 can be had|tflite: .* tpu9: LiteRT has no such delegate)"],
    ),
    "names that are too long": Row(
        [
            f"predict good.onnx white.png --labels {LONG}",
            f"predict good.onnx {LONG}",
            f"predict {LONG} white.png",
            f"predict good.onnx white.png --save {LONG}",
            f"model init good.onnx --mean 0 --std 255 --output {LONG}",
            f"check {LONG}",
        ],
        2,
        [rf"{LONG}: (there is no such|File name too long)"],
    ),
    # --- bundle.yaml
    "model replaced by another": bundle(
        HEAD.format("replaced.onnx") + "labels: two.txt\n",
        r"bundle\.yaml: labels: two\.txt has 2 lines, output output0 \[1, 7, 84\] has 3 classes$",
    ),
    "model of another size": bundle(
        HEAD.format("good.onnx") + "input: {size: [32, 32]}\n",
        r"bundle\.yaml: input\.size: it says \[32, 32\], good\.onnx has \[64, 64\] \(width, height\)$",
    ),
    "no such file in the bundle": bundle(
        HEAD.format("goot.onnx"), r"bundle\.yaml: there is no goot\.onnx beside it; did you mean good\.onnx\?$"
    ),
    "a file outside the bundle": bundle(
        HEAD.format("../good.onnx"), r"bundle\.yaml: \.\./good\.onnx is not in the bundle's directory; put a copy there$"
    ),
    "wrong label count": bundle(
        HEAD.format("good.onnx") + "labels: three.txt\n", r"bundle\.yaml: labels: three\.txt has 3 lines, output .* has 2 classes$"
    ),
    "unknown head": bundle(
        HEAD.format("good.onnx") + "head: {type: yollo}\n",
        rf'bundle\.yaml:4: head\.type: expected one of {TYPES}, got "yollo"; did you mean yolo\?$',
    ),
    "head that does not fit": bundle(
        HEAD.format("good.onnx") + "head: {type: ssd}\n",
        r"bundle\.yaml: head: the ssd head needs four float tensors: .* not 'output0' \[1, 6, 84\] float32$",
    ),
    "unknown option of a head": bundle(
        HEAD.format("good.onnx") + "head: {type: yolo, bos: xywh_pixels}\n",
        r"bundle\.yaml:4: head\.bos: unknown key; did you mean box\?$",
    ),
    "empty bundle.yaml": bundle("", r"name: missing", r"version: missing", r"say either model: FILE or variants"),
    "tab in bundle.yaml": bundle('name: b\n\tversion: "1.0.0"\n', r"bundle\.yaml:2:1: not YAML: .*found character '\\t'"),
    "all at once in bundle.yaml": bundle(
        "name: B!\nversion: 1.0\nmodl: good.onnx\nmodel: good.onnx\nmodel: good.onnx\ntask: anomaly\nvariants: []\n",
        r"bundle\.yaml:5: model: duplicate key, first in line 4; keep one of them$",
        r"bundle\.yaml:6: task: anomaly is not built yet in this version; only detect, classify, segment, keypoints are$",
        r'bundle\.yaml:1: name: expected a name of a-z, .*, got "B!"$',
        r'bundle\.yaml:2: version: expected a semantic version in quotes, such as "1\.0\.0", got 1\.0$',
        r"bundle\.yaml:3: modl: unknown key; did you mean model\?$",
        r"bundle\.yaml:7: variants: expected a list of at least 1, got a list of 0$",
        r"bundle\.yaml:7: variants: say either model: FILE or variants",
    ),
    # --- sources
    "corrupt video": source("noise.mp4", 1, r"video noise\.mp4 cannot be decoded: moov atom not found$"),
    "truncated video without its index": source("cut-clip.mp4", 1, r"video cut-clip\.mp4 cannot be decoded: moov atom not found$"),
    "corrupt picture": source("noise.jpg", 1, r"picture noise\.jpg cannot be decoded: it is damaged, or no picture$"),
    "truncated picture": source("cut-white.png", 1, r"picture cut-white\.png cannot be decoded: it is damaged, or no picture$"),
    "text for a video": source("two.txt", 1, r"video two\.txt is text, not a video$"),
    "no such video": source("clib.avi", 2, r"edge-agent: clib\.avi: there is no such file or folder; did you mean clip\.avi\?$"),
    "no such folder": source("photos/", 2, r"edge-agent: photos/: there is no such file or folder"),
    "several sources that are not there": source(
        "white.png 1.jpg '' ftp://x 12345678901234567890",
        2,
        r"1\.jpg: there is no such file",
        r"expected a camera, a URL, a video or pictures, got nothing$",
        r'"ftp://x" is no address of a camera; expected rtsp://HOST/',
        r"12345678901234567890: there is no such file",
    ),
    "a folder without pictures": source("hollow", 1, r"folder hollow has no pictures$"),
    "no such USB camera": source("99", 1, r"camera /dev/video99 is not there; (no camera is connected|there are /dev/)"),
    "no camera": source("/dev/null", 1, r"camera /dev/null gives no pictures; another program may have it, or it is no camera$"),
    "RTSP refused": source(
        f"rtsp://viewer:{SECRET}@{NOWHERE}/1",
        1,
        rf"camera rtsp://viewer:\*\*\*@{NOWHERE}/1 cannot be opened: nothing listens there$",
    ),
    "HTTP refused": source(
        f"'http://{NOWHERE}/1?x=1&token={SECRET}'", 1, r"camera http://\S+token=\*\*\* cannot be opened: nothing listens there$"
    ),
    "a host that nobody knows": source(
        f"rtsp://viewer:{SECRET}@no-such-host.invalid/1",
        1,
        r"camera rtsp://viewer:\*\*\*@\S+ cannot be opened: its host name is not known$",
    ),
    # --- the command line
    "no verb": usage("", r"edge-agent: the following arguments are required: VERB; see edge-agent --help$"),
    "unknown verb": usage("predikt model", r"edge-agent: there is no verb predikt; did you mean predict\?$"),
    "unknown verb of model": usage("model shwo x", r"invalid choice: 'shwo' \(choose from .*\); see edge-agent model --help$"),
    "unknown option": usage("predict good.onnx white.png --scroe 1", r"unrecognized arguments: --scroe 1; see edge-agent --help$"),
    "score of 7": usage(
        "predict good.onnx white.png --score 7", r"argument --score: expected a number from 0 to 1, got 7; see edge-agent predict"
    ),
    "score that is no number": usage("predict good.onnx white.png --score x", r"--score: expected a number from 0 to 1, got x"),
    "no threads": usage("predict good.onnx white.png --threads 0", r"--threads: expected a number from 1 to 64, got 0"),
    "CONFIG and --model": usage("run config.yaml --model good.onnx", r"run: either CONFIG or --model, not both$"),
    "--model alone": usage("run --model good.onnx", r"run: without CONFIG, say both --model and --source$"),
    "nothing that run names is there": Row(
        ["run --model goot.onnx --source clib.avi --mqtt :x"],
        2,
        [
            r'--mqtt: expected HOST or HOST:PORT, got ":x"$',
            r"--source: there is no /\S+/clib\.avi; did you mean clip\.avi\?$",
            r"--model: there is no /\S+/goot\.onnx; did you mean good\.onnx\?$",
        ],
    ),
    "unknown head for init": usage(
        "model init good.onnx --head yolo9 --output made", rf"--head: expected one of {TYPES}, got yolo9$"
    ),
    "a name that cannot be": usage(
        "model init good.onnx --name 'My Model' --output made", r'--name: expected a name of a-z, .* got "My Model"$'
    ),
    "init over what is there": usage("model init good.onnx --output hollow", r"hollow: it is there already; say --output DIR"),
    "init into a file": usage("model init good.onnx --output two.txt/x", r"two\.txt/x: Not a directory$"),
    "--save into a file": usage(
        "predict good.onnx white.png --save two.txt", r"--save two\.txt: File exists; name a folder that can"
    ),
    "--save below a file": usage(
        "predict good.onnx white.png --save two.txt/x", r"--save two\.txt/x: Not a directory; name a folder"
    ),
    # --- the config
    "no config": Row(
        ["check confg.yaml", "run confg.yaml"],
        2,
        [r"edge-agent: confg\.yaml: there is no such config; did you mean config\.yaml\?$"],
        config(),
    ),
    "a folder for a config": Row(["check hollow", "run hollow"], 2, [r"edge-agent: hollow: Is a directory$"]),
    "a model for a config": Row(["check good.onnx", "run good.onnx"], 2, [r"edge-agent: good\.onnx: not (UTF-8 text|YAML)"]),
    "empty config": refused(
        "", ": sources: missing", ": models: missing", ": pipelines: missing", ": mqtt: missing: say mqtt: HOST$"
    ),
    "tab": refused("model: good.onnx\n\tsource: 0\n", r":2:1: not YAML: .* found character '\\t' that cannot start any token$"),
    "not YAML": refused("model: [good.onnx\nsource: 0\n", r":2:7: not YAML: while parsing a flow sequence, expected ',' or '\]'"),
    "a list": refused("- model\n- source\n", r":1: expected a map, got a list of 2$"),
    "wrong types": refused(
        "model: 7\nsource: {a: 1}\nmqtt: [x]\n",
        r':1: model: expected text, got 7; put it in quotes: "7"$',
        r":2: source: expected an integer or text or a list, got a map$",
        r":3: mqtt: expected text or a map, got a list of 1$",
    ),
    "empty values": refused(
        'model: ""\nsource: ""\nmqtt: ""\n',
        r":2: source: expected a camera, a URL, a video or pictures, got nothing$",
        r':3: mqtt: expected HOST or HOST:PORT, got ""$',
        r":1: model: expected a path, got nothing$",
    ),
    "duplicate key": refused(
        "model: good.onnx\nsource: white.png\nsource: 0\nmqtt: x\n",
        r":3: source: duplicate key, first in line 2; keep one of them$",
    ),
    "unknown key": refused(
        "model: good.onnx\nsource: 0\nmqtt: x\nstate_dri: state\n", r":4: state_dri: unknown key; did you mean state_dir\?$"
    ),
    "a command that there is not": refused(
        "model: good.onnx\nsource: 0\nmqtt: {host: x, commands: [pause, instal]}\n",
        r":3: mqtt\.commands\[1\]: expected one of cancel, .*, got \"instal\"; did you mean install\?$",
    ),
    "updates": refused(
        "model: good.onnx\nsource: 0\nmqtt: x\n"
        f"updates: {{repository: 'http://u:{SECRET}@h/', trust_root: root.json, timezone: Mars}}\n",
        r":4: updates\.repository: no user or password may stand in it: what it serves is signed, and need not be secret$",
        r":4: updates\.timezone: this computer knows no time zone \"Mars\"",
        r":4: updates\.timezone: it is that of the window, and there is none$",
        r":4: updates\.trust_root: there is no .*/root\.json$",
    ),
    "an unknown variable": refused(
        "model: good.onnx\nsource: 0\nmqtt: ${NO_SUCH_HOST}\n", r":3: mqtt: the environment has no variable"
    ),
    "all at once": refused(
        f"""\
sources:
  gate: {{type: url, url: "rtsp://u:{SECRET}@x/1", transport: tpc}}
  bench: {{type: usbb, device: 0}}
models:
  m: {{bundle: good.onnx, thread: 2, allow: m}}
pipelines:
  p: {{source: gaet, model: m, score: 7, publish: {{delivery: durable}}}}
mqtt: {{host: x, port: 99999, password: {SECRET}}}
device: {{id: Porch!}}
""",
        r':9: device\.id: expected a name of a-z, .*, got "Porch!"$',
        r":2: sources\.gate\.transport: expected one of tcp, udp, got \"tpc\"; did you mean tcp\?$",
        r":3: sources\.bench\.type: expected one of file, images, usb, url, command, synthetic, got \"usbb\"; did you mean usb\?$",
        r":5: models\.m\.thread: unknown key; did you mean threads\?$",
        r":5: models\.m\.allow: expected a list, .*got \"m\"",
        r":7: pipelines\.p\.score: expected a number from 0 to 1, got 7$",
        r":7: pipelines\.p\.publish\.delivery: not built yet in this version; leave it out$",
        r":8: mqtt\.port: expected an integer from 1 to 65535, got 99999$",
        rf":8: mqtt\.password: {NO_PASSWORD}",
        r":7: pipelines\.p\.source: there is no \"gaet\" in sources; did you mean gate\?$",
    ),
    "a secret that others can read": refused(
        FULL.format(
            source='{type: url, url: "rtsp://x/1", username: u, password_file: open}', mqtt="{host: x, password_file: open}"
        ),
        r":4: mqtt\.password_file: others can read (/\S+/open); run: chmod 600 \1$",
        r":1: sources\.cam\.password_file: others can read (/\S+/open); run: chmod 600 \1$",
    ),
    "no such secret": refused(
        FULL.format(source="{type: usb, device: 0}", mqtt="{host: x, password_file: colsed}"),
        r":4: mqtt\.password_file: there is no /\S+/colsed; did you mean closed\?$",
    ),
    "a secret that is a folder": refused(
        FULL.format(source="{type: usb, device: 0}", mqtt="{host: x, password_file: hollow}"),
        r":4: mqtt\.password_file: /\S+/hollow is a folder$",
    ),
    "certificates that are none": Row(
        [VERBS[verb] for verb in CONFIGURED],
        2,
        [r"mqtt\.tls\.ca: /\S+/two\.txt: not a PEM file of certificates"],
        config(mqtt="{host: x, tls: {ca: two.txt}}"),
    ),
    "state_dir that is a file": refused(
        "model: good.onnx\nsource: 0\nmqtt: x\nstate_dir: two.txt\n",
        r":4: state_dir: /\S+/two\.txt is a file; name a folder that can",
    ),
    "state_dir that cannot be": Row(
        ["run config.yaml"],
        2,
        [r"state_dir: /\S+/two\.txt/x: Not a directory: name a folder that can be written$"],
        {"config.yaml": "model: good.onnx\nsource: 0\nmqtt: x\nstate_dir: two.txt/x\n"},
    ),
}


def files_of(folder: Path) -> set[Path]:
    """Every file but the agent's own state."""
    return {path for path in folder.rglob("*") if path.is_file() and "state" not in path.relative_to(folder).parts}


def complaints(stderr: str) -> list[str]:
    """Lines that tell of a problem: all of them, but for what `run` reports of its course and of the broker."""
    return [line for line in stderr.splitlines() if " INFO " not in line and BROKER_LINE not in line]


def check_complaints(lines: Sequence[str], expected: Sequence[str]) -> None:
    """One line for each of the regular expressions, and nothing else."""
    for pattern in expected:
        assert sum(bool(re.search(pattern, line)) for line in lines) == 1, f"{pattern} in {lines}"
    assert len(lines) == len(expected), lines


def try_row(row: Row, folder: Path) -> None:
    for name, text in row.files.items():
        (folder / name).write_text(text)
    before = files_of(folder)
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda command: edge_agent(*shlex.split(command), cwd=folder), row.commands))
    for run in runs:
        check_complaints(complaints(run.stderr), row.lines)
        assert run.returncode == row.status, run.args
        assert SECRET not in run.stdout + run.stderr
        assert "Traceback" not in run.stdout + run.stderr
    if row.status != 0:
        assert files_of(folder) == before, "nothing is left behind"


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_one_clear_line(row: Row, folder: Path) -> None:
    try_row(row, folder)


BROKEN = {
    "customop_audio_preprocessor_int8.tflite": r"cannot load it: Encountered unresolved custom op: SignalWindow; export the model",
    "missing_external_data_mobilenet_v2_fp32.onnx": r"the file with its weights is missing; copy it beside the model: ",
}


@pytest.mark.parametrize("name", BROKEN)
def test_real_models_that_cannot_be_run(name: str, data: Path, folder: Path) -> None:
    path = str(data / "models/broken" / name)
    try_row(model(path, 1, BROKEN[name]), folder)


def test_a_name_that_is_not_utf_8(folder: Path) -> None:
    name = os.fsdecode(b"wei\xdf.png")
    shutil.copyfile(folder / "white.png", folder / name)
    run = edge_agent("predict", "good.onnx", name, cwd=folder)
    assert (run.returncode, run.stderr) == (2, "edge-agent: wei\\udcdf.png: not UTF-8; rename what is called so\n")


def test_what_was_read_of_a_truncated_video_is_kept(folder: Path) -> None:
    run = edge_agent("predict", "good.onnx", "cut-clip.avi", "--save", "seen", cwd=folder)
    assert run.returncode == 1
    (line,) = run.stderr.splitlines()
    assert re.search(rf"video cut-clip\.avi is corrupt after \d+ of {FRAMES} frames: ", line)
    assert 0 < len(run.stdout.splitlines()) < FRAMES
    check_videos(folder / "seen", ["cut-clip.annotated.mp4"])


def check_videos(folder: Path, expected: Sequence[str]) -> None:
    """They are there, whole, and nothing else."""
    assert sorted(path.name for path in folder.iterdir()) == sorted(expected)
    for name in expected:
        video = cv2.VideoCapture(str(folder / name))
        assert video.read()[0], name
        video.release()


# --- where the output goes


@pytest.mark.parametrize("command", ["predict good.onnx clip.avi clip.avi", "model show good.onnx", "--help", "model show --help"])
def test_a_reader_that_has_seen_enough(command: str, folder: Path) -> None:
    """As with `| head -1`; deaf: with `| true`."""
    for deaf in (False, True):
        with start_agent(*shlex.split(command), cwd=folder) as agent:
            assert agent.stdout is not None
            if not deaf:
                assert agent.stdout.readline()
            agent.stdout.close()
            assert agent.stderr is not None
            assert agent.stderr.read() == ""
        assert agent.returncode in (0, 1)  # 0: all was written before


def test_nowhere_to_write(folder: Path) -> None:
    for command in ("predict good.onnx white.png", "model show good.onnx", "--help"):
        with Path("/dev/full").open("w") as full:
            arguments = [*COMMAND, *shlex.split(command)]
            run = subprocess.run(
                arguments, cwd=folder, env=environment(folder), stdout=full, stderr=subprocess.PIPE, text=True, check=False
            )
        assert (run.returncode, run.stderr) == (1, "edge-agent: the output cannot be written: the disk is full\n")


def test_what_turns_out_when_the_models_run_already_ends_them_too(folder: Path) -> None:
    (folder / "state").mkdir()
    (folder / "state/sideload").touch()
    for name, text in config(more="updates: {sideload: true}\n").items():
        (folder / name).write_text(text)
    run = edge_agent("run", "config.yaml", cwd=folder)
    check_complaints(
        complaints(run.stderr), [r"^edge-agent: updates\.sideload: /\S+/state/sideload cannot be watched: File exists$"]
    )
    assert run.returncode == 2


@pytest.fixture
def disk(folder: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    with small_disk(folder / "disk", 64) as path:
        yield path


def test_a_full_disk(disk: Path, folder: Path) -> None:
    noise = np.random.default_rng(7).integers(0, 255, (480, 640, 3), np.uint8)
    write_picture(folder / "large.png", noise)
    write_video(folder / "large.avi", [noise] * 3)
    with (folder / "good.tflite").open("ab") as file:
        file.write(bytes(100_000))
    commands = {
        "predict good.onnx large.png --save disk": r"--save disk: large\.annotated\.jpg cannot be written: No space left on",
        "predict good.onnx large.avi --save disk": r"--save disk: large\.annotated\.mp4 cannot be written: is the disk full\?$",
        "model init good.tflite --mean 0 --std 255 --output disk/made": r"disk/made cannot be written: No space left on device$",
    }
    for command, line in commands.items():
        try_row(Row([command], 1, [line]), folder)
        assert files_of(disk) == set()


def test_ctrl_c_keeps_what_was_predicted(folder: Path) -> None:
    with start_agent("predict", "good.onnx", *["clip.mp4"] * 500, "--save", "seen", cwd=folder) as agent:
        assert agent.stdout is not None
        for _ in range(2 * FRAMES + 1):
            agent.stdout.readline()
        agent.send_signal(signal.SIGINT)
        _, stderr = agent.communicate(timeout=DEADLINE_S)
    assert (agent.returncode, stderr) == (130, "")
    videos = len(list((folder / "seen").iterdir()))
    assert 3 <= videos < 500
    check_videos(folder / "seen", ["clip.annotated.mp4", *(f"clip.annotated-{i}.mp4" for i in range(2, videos + 1))])


def test_ctrl_c_while_a_camera_says_nothing(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as camera:
        address = f"rtsp://viewer:{SECRET}@127.0.0.1:{camera.getsockname()[1]}/1"
        with start_agent("predict", "good.onnx", address, cwd=folder) as agent:
            camera.settimeout(DEADLINE_S)
            camera.accept()[0].close()
            agent.send_signal(signal.SIGINT)
            _, stderr = agent.communicate(timeout=5)
    assert (agent.returncode, stderr) == (130, "")


# --- what can come back: `run` tells it once and goes on trying


class Daemon:
    """`edge-agent run config.yaml`, and its log."""

    def __init__(self, folder: Path) -> None:
        self.log: list[str] = []
        self._process = start_agent("run", "config.yaml", cwd=folder)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        print(*self.log, sep="\n")  # noqa: T201  where a test fails, pytest shows it

    def wait_line(self, pattern: str) -> None:
        wait_until(lambda: any(re.search(pattern, line) for line in self.log), pattern)

    def stop(self) -> None:
        """SIGTERM ends it within 5 s, with status 0."""
        self._process.terminate()
        assert self._process.wait(5) == 0
        self._reader.join()

    def wait_end(self) -> int:
        return self._process.wait(DEADLINE_S)

    def check(self, *expected: str) -> None:
        """It has told each problem once, and no other."""
        check_complaints(complaints("\n".join(self.log)), expected)
        assert SECRET not in "\n".join(self.log)

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr:
            self.log.extend(line.rstrip() for line in self._process.stderr)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


PROGRAM_CAMERA = "{type: command, command: [./camera], size: [64, 64]}"
URL_CAMERA = '{{type: url, url: "rtsp://viewer:{secret}@127.0.0.1:{port}/1", open_timeout_s: 0.5, read_timeout_s: 0.5}}'


def write_camera(folder: Path, script: str = "while :; do head -c 12288 /dev/urandom; sleep 0.05; done") -> None:
    """A program that gives pictures, or does as the script says; whole from the first moment on."""
    part = folder / "camera.part"
    part.write_text(f"#!/bin/sh\n{script}\n")
    part.chmod(0o755)
    part.rename(folder / "camera")


def no_device(folder: Path) -> Iterator[str]:
    yield "{type: usb, device: ./video7}"
    (folder / "video7").touch()


def no_program(folder: Path) -> Iterator[str]:
    yield PROGRAM_CAMERA
    write_camera(folder)


def program_that_may_not_be_run(folder: Path) -> Iterator[str]:
    write_camera(folder)
    (folder / "camera").chmod(0o644)
    yield PROGRAM_CAMERA
    (folder / "camera").chmod(0o755)


def program_that_exits(folder: Path) -> Iterator[str]:
    write_camera(folder, f"echo cannot open rtsp://viewer:{SECRET}@x/1 >&2; exit 3")
    yield PROGRAM_CAMERA
    write_camera(folder)


def nobody_listens(_folder: Path) -> Iterator[str]:
    port = free_port()
    yield URL_CAMERA.format(secret=SECRET, port=port)
    with socket.create_server(("127.0.0.1", port)) as camera:
        camera.settimeout(DEADLINE_S)
        camera.accept()[0].close()  # it has tried again


def nobody_answers(_folder: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as camera:
        camera.settimeout(DEADLINE_S)
        yield URL_CAMERA.format(secret=SECRET, port=camera.getsockname()[1])
        for _ in range(2):
            camera.accept()[0].close()


def no_video(folder: Path) -> Iterator[str]:
    yield "{type: file, path: noise.mp4}"
    (folder / "clip.avi").rename(folder / "noise.mp4")


class Trouble(NamedTuple):
    """cause: brings it about, yields the source, and mends it. line: told once. reason: published. sign: in the log thereafter."""

    cause: Callable[[Path], Iterator[str]]
    line: str
    reason: str
    sign: str = ""


TROUBLES = {
    "USB": Trouble(
        no_device, r"\(not_found\): camera \./video7 is not there; ", "not_found", r"camera \./video7 gives no pictures"
    ),
    "RTSP refused": Trouble(
        nobody_listens, r"camera rtsp://viewer:\*\*\*@\S+ cannot be opened: nothing listens there$", "open_failed"
    ),
    "RTSP hangs": Trouble(
        nobody_answers, r"camera rtsp://viewer:\*\*\*@\S+ cannot be opened: no answer within 0\.5 s$", "open_failed"
    ),
    "no program": Trouble(no_program, r"command \./camera: there is no such program$", "not_found", "INFO source cam is back"),
    "not executable": Trouble(
        program_that_may_not_be_run,
        r"command \./camera cannot be started: Permission denied$",
        "open_failed",
        "INFO source cam is back",
    ),
    "program exits": Trouble(
        program_that_exits,
        r"command \./camera exited with status 3: cannot open rtsp://viewer:\*\*\*@x/1$",
        "process_exited",
        "INFO source cam is back",
    ),
    "no video": Trouble(
        no_video, r"video \S+/noise\.mp4 cannot be decoded: moov atom not found$", "corrupt", "INFO source cam: ended"
    ),
}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
def test_a_source_that_can_come_back(trouble: Trouble, folder: Path, broker: Mosquitto) -> None:
    cause = trouble.cause(folder)
    device = re.sub("[^a-z]", "-", folder.name.lower())
    text = FULL.format(source=next(cause), mqtt=f'"{broker.host}:{broker.port}"') + f"device: {{id: {device}}}\n"
    (folder / "config.yaml").write_text(text)
    with Subscriber(broker, f"edge/v1/{device}/#") as subscriber, Daemon(folder) as daemon:
        daemon.wait_line(trouble.line)
        daemon.wait_line("model m runs on cpu")
        subscriber.wait_for(
            lambda m: m.topic.endswith("/sources/cam") and f'"lost","reason":"{trouble.reason}"'.encode() in m.payload, "lost"
        )
        next(cause, None)
        if trouble.sign:
            daemon.wait_line(trouble.sign)
        daemon.stop()
        subscriber.wait_topic(f"edge/v1/{device}/availability", b"offline")
        assert not any(SECRET.encode() in message.payload for message in subscriber.messages)
    daemon.check(*(pattern for pattern in (trouble.line, trouble.sign) if pattern and "INFO" not in pattern))


def test_a_video_that_stays_broken(folder: Path, broker: Mosquitto) -> None:
    for name, text in config(source="cut-clip.avi", mqtt=f'"{broker.host}:{broker.port}"').items():
        (folder / name).write_text(text)
    lines = [
        rf"source main is lost \(corrupt\): video \S+/cut-clip\.avi is corrupt after \d+ of {FRAMES} frames: ",
        "source main is given up: it fails at the same place again$",
    ]
    try_row(Row(["run config.yaml"], 1, lines), folder)


def write_config(folder: Path, mqtt: str, device: str = "porch") -> None:
    """A camera that works, and a broker."""
    write_camera(folder)
    (folder / "config.yaml").write_text(FULL.format(source=PROGRAM_CAMERA, mqtt=mqtt) + f"device: {{id: {device}}}\n")


def test_a_broker_that_comes_later(folder: Path) -> None:
    broker = Mosquitto(folder)
    write_config(folder, f'"{broker.host}:{broker.port}"')
    line = rf"MQTT broker {broker.host}:{broker.port} refuses the connection: nothing listens there; is it running"
    with Daemon(folder) as daemon:
        daemon.wait_line(line)
        daemon.wait_line("model m runs on cpu")
        with broker, Subscriber(broker, "edge/v1/porch/#") as subscriber:
            subscriber.wait_topic("edge/v1/porch/availability", b"online")
            daemon.stop()
            subscriber.wait_topic("edge/v1/porch/availability", b"offline")
    daemon.check(line, "connected as 'porch'")


def test_a_broker_that_nobody_knows(folder: Path) -> None:
    write_config(folder, "no-such-host.invalid")
    with Daemon(folder) as daemon:
        daemon.wait_line("model m runs on cpu")
        daemon.wait_line("is not known")
        daemon.stop()
    daemon.check(r"MQTT broker no-such-host\.invalid:1883: host name 'no-such-host\.invalid' is not known: check mqtt\.host and")


def test_a_wrong_password(folder: Path) -> None:
    if PROGRAM is None:
        pytest.skip("mosquitto is not installed")
    (folder / "passwd").touch(0o600)
    subprocess.run(["mosquitto_passwd", "-b", folder / "passwd", "porch", "another"], check=True)
    with Mosquitto(folder, ["allow_anonymous false", f"password_file {folder / 'passwd'}"]) as broker:
        write_config(folder, f"{{host: {broker.host}, port: {broker.port}, password_file: closed}}")
        with Daemon(folder) as daemon:
            daemon.wait_line("model m runs on cpu")
            wait_until(lambda: sum("not authorised" in line for line in broker.log) >= 2, "the second try")
            daemon.stop()
    daemon.check(r"MQTT broker \S+ refuses user 'porch' \(\w[^)]+\): check mqtt\.username, mqtt\.password_file and its access list")


def test_two_devices_with_one_id(folder: Path, broker: Mosquitto) -> None:
    """A broker of MQTT 5 says who took the id; mosquitto before 2.0.15 does not, so that it is guessed."""
    write_config(folder, f'"{broker.host}:{broker.port}"', "twin")
    twin = shutil.copytree(folder, folder / "twin")
    line = r"another client uses? the client id 'twin'|does another client use the client id 'twin'\?"
    with Daemon(folder) as one, Daemon(twin) as other:
        wait_until(lambda: any(re.search(line, told) for told in one.log + other.log), "who took the id")
        one.stop()
        other.stop()
    for daemon in (one, other):
        told = [re.sub(r"^\S+ \S+ WARNING MQTT broker \S+?:? ", "", text) for text in complaints("\n".join(daemon.log))]
        assert sum(bool(re.search(line, text)) for text in told) <= 1, told
        assert all(re.search(rf"^(has closed the connection|connected as 'twin'$)|{line}", text) for text in told), told
