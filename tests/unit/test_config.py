"""From a config file, with all that can be wrong with it, to a Config in which everything is decided."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.config import NO_PASSWORD, ConfigFile, config_from_parts, json_schema, load_config, source_from
from agent.errors import ConfigError
from agent.pipeline.config import ModelConfig, PipelineConfig
from agent.publish.config import MqttConfig, TlsConfig
from agent.runtimes import Delegate
from agent.sources.config import FileConfig, ImagesConfig, SourceConfig, UrlConfig, UsbConfig
from agent.update.config import UpdatesConfig

DOCS = Path(__file__).parents[2] / "docs"
FULL = """
version: 1
device: {id: gate-03, labels: {site: lyon}}
sources:
  bench: {type: usb, device: /dev/video0, size: [1280, 720], fps: 15}
  gate: {type: url, url: "rtsp://10.0.0.5/1", username: viewer, password_file: secrets/gate}
  clip: {type: file, path: clip.mp4}
models:
  people: {bundle: m.tflite, labels: labels.txt, threads: 2}
  stored: {bundle: people@1.3.0}
pipelines:
  bench: {source: bench, model: people}
  gate: {source: gate, model: stored, score: 0.4, labels: [person], publish: {when: change, max_hz: 2}}
mqtt: {host: broker.example, password_file: secrets/mqtt, tls: {ca: ca.pem, cert: dev.pem, key_file: secrets/dev.key}}
state_dir: state
"""
NO_CAMERA = "is no address of a camera; expected rtsp://HOST/… or rtsps://HOST/… or http://HOST/… or https://HOST/…"
A_NAME = "a name of a-z, 0-9, _ and -, beginning with a letter or digit, 63 at most"
SHORT_FORM = "model and source are the short form, which goes without this; use one form or the other"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with every file that the examples name."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "pictures").mkdir()
    for name in ("m.tflite", "labels.txt", "clip.mp4", "a.jpg", "ca.pem", "dev.pem"):
        (tmp_path / name).write_text("x")
    for name, text in (("gate", "hunter2\n"), ("mqtt", "swordfish"), ("dev.key", "k")):
        (tmp_path / "secrets" / name).write_text(text)
        (tmp_path / "secrets" / name).chmod(0o600)
    return tmp_path


def load(folder: Path, text: str, env: Mapping[str, str] | None = None) -> Any:
    (folder / "config.yaml").write_text(text)
    return load_config(folder / "config.yaml", {} if env is None else env)


def problems(folder: Path, text: str, env: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, env)
    return str(caught.value).replace(f"{folder}/", "").split("\n")


def test_the_short_form(folder: Path) -> None:
    config = load(folder, "model: m.tflite\nsource: 0\nmqtt: localhost\ndevice: {id: here}")
    assert config.device_id == "here"
    assert config.sources == {"main": UsbConfig(device=0)}
    assert config.models == {"main": ModelConfig(bundle=str(folder / "m.tflite"))}
    assert config.pipelines == {"main": PipelineConfig(source="main", model="main")}
    assert config.mqtt == MqttConfig(host="localhost", port=1883)
    assert config.mqtt_password is None
    assert config.state_dir.name == "edge-agent"


def test_the_command_line_gives_the_same(folder: Path) -> None:
    model = str(folder / "m.tflite")
    written = load(folder, f"model: {model}\nsource: rtsp://10.0.0.5/1\nmqtt: 'localhost:1884'")
    assert config_from_parts(model=model, source="rtsp://10.0.0.5/1", mqtt="localhost:1884", env={}) == written
    labels = str(folder / "labels.txt")
    config = config_from_parts(model=model, source="0", mqtt="h", labels=labels, env={})
    assert config.models["main"] == ModelConfig(bundle=model, labels=labels)


def test_problems_of_the_command_line_name_its_options() -> None:
    with pytest.raises(ConfigError) as caught:
        config_from_parts(model="/none/m.tflite", source="ftp://x", mqtt="a b", labels="/none/l.txt", env={})
    assert [line.partition(":")[0] for line in str(caught.value).split("\n")] == ["--source", "--mqtt", "--model", "--labels"]


def test_the_full_form(folder: Path) -> None:
    config = load(folder, FULL)
    assert config.device_id == "gate-03"
    assert config.device_labels == {"site": "lyon"}
    assert config.sources["gate"] == UrlConfig(
        url="rtsp://10.0.0.5/1",
        username="viewer",
        password_file="secrets/gate",  # noqa: S106  a path
        password="hunter2",  # noqa: S106  a test's
    )
    assert config.sources["clip"] == FileConfig(path=str(folder / "clip.mp4"))
    assert config.models["people"] == ModelConfig(bundle=str(folder / "m.tflite"), labels=str(folder / "labels.txt"), threads=2)
    assert config.models["stored"].bundle == "people@1.3.0"
    assert config.pipelines["gate"].publish.max_hz == 2.0
    assert config.mqtt.port == 8883
    assert config.mqtt.username == "gate-03"
    assert config.mqtt_password == "swordfish"  # noqa: S105  a test's
    assert config.mqtt.tls == TlsConfig(
        ca=str(folder / "ca.pem"), cert=str(folder / "dev.pem"), key_file=str(folder / "secrets/dev.key")
    )
    assert config.state_dir == folder / "state"
    assert "hunter2" not in repr(config)
    assert "swordfish" not in repr(config)


UPDATES = "model: m.tflite\nsource: 0\nmqtt: x\ndevice: {id: here}\nupdates: "
ROOT = "trust_root: root.json"


def test_updates(folder: Path) -> None:
    (folder / "root.json").write_text("{}")
    config = load(
        folder,
        FULL
        + f"""
updates: {{repository: "https://models.example/edge", {ROOT}, window: "02:00-05:00", timezone: Europe/Paris, min_probation_s: 60}}
""",
    )
    assert config.updates == UpdatesConfig(
        repository="https://models.example/edge",
        trust_root=str(folder / "root.json"),
        window="02:00-05:00",
        timezone="Europe/Paris",
        min_probation_s=60,
    )
    assert load(folder, UPDATES + "{sideload: true}").updates == UpdatesConfig(sideload=True)
    assert load(folder, FULL).updates is None


@pytest.mark.parametrize(
    ("updates", "complaint"),
    [
        ("{repository: 'https://h/'}", "trust_root: missing: the root.json by which the repository's signatures are checked"),
        (f"{{{ROOT}}}", "repository: missing: whose trust_root is it?"),
        (f"{{repository: 'ftp://h/', {ROOT}}}", 'repository: expected http://HOST/… or https://HOST/…, got "ftp://h/"'),
        (f"{{repository: 'https:///x', {ROOT}}}", 'repository: expected http://HOST/… or https://HOST/…, got "https:///x"'),
        (f"{{repository: 'https://h/?a=1', {ROOT}}}", 'repository: expected http://HOST/… or https://HOST/…, got "https://h/?a=1"'),
        (f"{{repository: 'https://u:secret@[::1/', {ROOT}}}", "repository: expected http://HOST/… or https://HOST/…"),
        (
            f"{{repository: 'https://u:secret@h/', {ROOT}}}",
            "repository: no user or password may stand in it: what it serves is signed, and need not be secret",
        ),
        ("{repository: 'https://h/', trust_root: rot.json}", "trust_root: there is no rot.json; did you mean root.json?"),
        (
            "{window: '01:00-02:00', timezone: Europe/Pariss}",
            'timezone: this computer knows no time zone "Europe/Pariss"; did you mean Europe/Paris?',
        ),
        ("{window: '01:00-02:00', timezone: ../../etc/passwd}", 'timezone: this computer knows no time zone "../../etc/passwd"'),
        ("{timezone: Europe/Paris}", "timezone: it is that of the window, and there is none"),
        ("{window: '01:00-01:00'}", 'window: "01:00-01:00" has no length; leave it out for the whole day'),
        ("{window: '1:00-2:00'}", 'window: expected a time of day in which models may be switched, such as "02:00-05:00", got'),
    ],
)
def test_what_is_wrong_with_updates(folder: Path, updates: str, complaint: str) -> None:
    (folder / "root.json").write_text("{}")
    (line,) = problems(folder, UPDATES + updates)
    assert line.startswith(f"config.yaml:5: updates.{complaint}")
    assert "secret@" not in line


def test_what_operators_may_do(folder: Path) -> None:
    assert load(folder, FULL).mqtt.commands == ("pause", "resume", "cancel", "install")
    assert load(folder, FULL.replace("mqtt: {", "mqtt: {commands: [snapshot], ")).mqtt.commands == ("snapshot",)
    assert load(folder, FULL.replace("mqtt: {", "mqtt: {commands: [], ")).mqtt.commands == ()
    assert load(folder, FULL.replace("threads: 2", "allow: [people, people-night]")).models["people"].allow == [
        "people",
        "people-night",
    ]


def test_config_d_goes_over_it(folder: Path) -> None:
    (folder / "config.d").mkdir()
    (folder / "config.d" / "20-b.yaml").write_text("sources: {gate: {url: rtsp://second/1}}\nmqtt: {port: 1}")
    (folder / "config.d" / "10-a.yaml").write_text("sources: {gate: {url: rtsp://first/1}, more: {type: usb, device: 1}}")
    (folder / "config.d" / ".hidden.yaml").write_text("[")
    (folder / "config.d" / "README").write_text("[")
    config = load(folder, FULL)
    assert config.sources["gate"].url == "rtsp://second/1"
    assert config.sources["gate"].username == "viewer"
    assert config.sources["more"] == UsbConfig(device=1)
    assert config.mqtt.port == 1
    (folder / "config.d" / "30-c.yaml").write_text("\nsources: {gate: {urk: x}}")
    assert problems(folder, FULL) == ["config.d/30-c.yaml:2: sources.gate.urk: unknown key; did you mean url?"]


def test_variables(folder: Path) -> None:
    text = "model: m.tflite\nsource: rtsp://u:${PW}@h/1\nmqtt:\n  host: ${HOST}\n  port: ${PORT}\n"
    config = load(folder, text, {"PW": "p", "HOST": "h", "PORT": "77"})
    assert config.sources["main"] == UrlConfig(url="rtsp://u:p@h/1")
    assert (config.mqtt.host, config.mqtt.port) == ("h", 77)
    assert problems(folder, text, {"HOST": "h", "PORT": "x"}) == [
        "config.yaml:2: source: the environment has no variable PW",
        'config.yaml:5: mqtt.port: expected an integer from 1 to 65535, got "${PORT}"',
    ]


def test_a_secret_that_systemd_passes_in_may_be_readable(folder: Path) -> None:
    secret = folder / "secrets" / "mqtt"
    secret.chmod(0o440)
    text = FULL.replace("secrets/mqtt", '"${CREDENTIALS_DIRECTORY}/mqtt"')
    assert load(folder, text, {"CREDENTIALS_DIRECTORY": str(folder / "secrets")}).mqtt_password == "swordfish"  # noqa: S105  a test's
    assert problems(folder, FULL) == [
        "config.yaml:14: mqtt.password_file: others can read secrets/mqtt; run: chmod 600 secrets/mqtt",
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "source: bench",
            "source: bnch",
            [
                'config.yaml:12: pipelines.bench.source: there is no "bnch" in sources; did you mean bench?',
            ],
        ),
        (
            "model: people}",
            "model: q}",
            [
                'config.yaml:12: pipelines.bench.model: there is no "q" in models; there is people, stored',
            ],
        ),
        (
            "device: /dev/video0",
            "dvice: 0",
            [
                "config.yaml:5: sources.bench.dvice: unknown key; did you mean device?",
                "config.yaml:5: sources.bench.device: missing: expected an integer or text",
            ],
        ),
        ("clip.mp4", "clop.mp4", ["config.yaml:7: sources.clip.path: there is no clop.mp4; did you mean clip.mp4?"]),
        ("bundle: m.tflite", "bundle: n/m.tflite", ["config.yaml:9: models.people.bundle: there is no n/m.tflite"]),
        (
            "labels: labels.txt",
            "labels: l.txt",
            ["config.yaml:9: models.people.labels: there is no l.txt; did you mean labels.txt?"],
        ),
        ("dev.pem, ", "", None),
        ("cert: dev.pem, ", "", ["config.yaml:14: mqtt.tls.cert: missing: the certificate that belongs to key_file"]),
        ("username: viewer, ", "", ["config.yaml:6: sources.gate.username: missing: whose password is it?"]),
        ("password_file: secrets/gate", "password: hunter2", [f"config.yaml:6: sources.gate.password: {NO_PASSWORD}"]),
        ("password_file: secrets/mqtt", "password: x", [f"config.yaml:14: mqtt.password: {NO_PASSWORD}"]),
        (
            "password_file: secrets/gate",
            "password_file: secrets",
            ["config.yaml:6: sources.gate.password_file: secrets is a folder"],
        ),
        ("rtsp://10.0.0.5/1", "10.0.0.5/1", [f'config.yaml:6: sources.gate.url: "10.0.0.5/1" {NO_CAMERA}']),
        ("rtsp://10.0.0.5/1", "rtsp://u:secret@[::1/1", [f'config.yaml:6: sources.gate.url: "rtsp://***@[::1/1" {NO_CAMERA}']),
        ("threads: 2", "allow: [A]", [f'config.yaml:9: models.people.allow[0]: expected {A_NAME}, got "A"']),
        (
            "max_hz: 2",
            "delivery: durable",
            [
                "config.yaml:13: pipelines.gate.publish.delivery: not built yet in this version; leave it out",
            ],
        ),
        (
            "host: broker.example",
            "host: tcp://broker",
            ['config.yaml:14: mqtt.host: expected a host\'s name or address alone, got "tcp://broker"'],
        ),
        (
            "mqtt: {",
            "mqtt: {commands: [pause, reload], ",
            ['config.yaml:14: mqtt.commands[1]: expected one of cancel, factory, install, pause, resume, snapshot, got "reload"'],
        ),
        (
            "device: {id: gate-03",
            "device: {id: Gate",
            [
                f'config.yaml:3: device.id: expected {A_NAME}, got "Gate"',
            ],
        ),
        ("version: 1", "version: 2", ["config.yaml:2: version: expected 1, got 2"]),
        (
            "version: 1",
            "model: m.tflite",
            [f"config.yaml:{line}: {name}: {SHORT_FORM}" for name, line in (("sources", 5), ("models", 9), ("pipelines", 12))]
            + ["config.yaml:2: source: missing: the short form is model and source"],
        ),
    ],
)
def test_what_is_wrong_is_told(folder: Path, old: str, new: str, expected: list[str] | None) -> None:
    assert old in FULL
    found = problems(folder, FULL.replace(old, new, 1))
    if expected is not None:
        assert found == expected
    assert "hunter2" not in "".join(found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["sources: missing", "models: missing", "pipelines: missing", "mqtt: missing: say mqtt: HOST"]),
        ("model: m.tflite\nmqtt: h", ["source: missing"]),
        ("model: m.tflite\nsource:\nmqtt:", ["source: missing", "mqtt: missing"]),
        ("source: 0\nmqtt: h", ["model: missing"]),
        ("model: x.tflite\nsource: none/\nmqtt: h", ["source: there is no", "model: there is no"]),
        ("model: m.tflite\nsource: [a.jpg, b.jpg]\nmqtt: h", ["source: there is no b.jpg; did you mean a.jpg?"]),
        (f"model: {'x' * 5000}\nsource: {'x' * 5000}\nmqtt: h", ["source: there is no", "model: there is no"]),
        ("model: m.tflite\nsource: 0\nmqtt: tcp://h", ['mqtt: expected HOST or HOST:PORT, got "tcp://h"']),
        ("model: m.tflite\nsource: 0\nmqtt: 'h:0'", ['mqtt: expected HOST or HOST:PORT, got "h:0"']),
        ("model: m.tflite\nsource: 0\nmqtt: 'h:70000'", ['mqtt: expected HOST or HOST:PORT, got "h:70000"']),
        ("model: [m.tflite]\nsource: 0\nmqtt: h", ["model: expected text, got a list of 1"]),
    ],
)
def test_what_is_missing_is_told(folder: Path, text: str, expected: list[str]) -> None:
    found = problems(folder, f"{text}\ndevice: {{id: d}}")
    for line, start in zip(found, expected, strict=True):
        assert line.split(": ", 1)[1].startswith(start)


@pytest.mark.parametrize("content", ["", "\n", "two\nlines\n", "x" * 5000, "caf\xe9\x07"])
def test_a_secret_is_one_line(folder: Path, content: str) -> None:
    (folder / "secrets" / "mqtt").write_bytes(content.encode("latin-1"))
    (line,) = problems(folder, FULL)
    assert line.startswith("config.yaml:14: mqtt.password_file: secrets/mqtt")


def test_ipv6_brokers() -> None:
    config = config_from_parts(model=__file__, source="0", mqtt="[::1]:1885", env={})
    assert config.mqtt == MqttConfig(host="::1", port=1885)


@pytest.mark.parametrize(
    ("text", "config"),
    [
        (0, UsbConfig(device=0)),
        ("2", UsbConfig(device=2)),
        ("/dev/video1", UsbConfig(device="/dev/video1")),
        ("RTSP://x/1", UrlConfig(url="RTSP://x/1")),
        ("https://u:p@x:8080/1", UrlConfig(url="https://u:p@x:8080/1")),
        ("a.JPG", ImagesConfig(path="a.JPG")),
        ("a.mp4", FileConfig(path="a.mp4")),
        (".", ImagesConfig(path=".")),
        (["a.jpg", "b.jpg"], ImagesConfig(path=["a.jpg", "b.jpg"])),
    ],
)
def test_a_source_in_one_word(text: int | str | list[str], config: SourceConfig) -> None:
    assert source_from(text) == config


def test_a_source_of_no_kind() -> None:
    with pytest.raises(ValueError, match="is no address of a camera"):
        source_from("file:///x")


def test_files_that_cannot_be_read(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: there is no such config"):
        load_config(folder / "none.yaml")
    with pytest.raises(ConfigError, match="Is a directory"):
        load_config(folder)
    assert problems(folder, "a: [") == [
        "config.yaml:1:5: not YAML: while parsing a flow node, expected the node content, but found '<stream end>'"
    ]


def test_the_schema_in_the_docs_is_current() -> None:
    """If not: python -m agent.config > docs/config.schema.json."""
    assert json.loads((DOCS / "config.schema.json").read_text()) == json.loads(json.dumps(json_schema()))  # tuples are lists there


@pytest.mark.parametrize("text", [FULL, "model: m\nsource: 0\nmqtt: h", "model: m\nsource: [a.jpg]\nmqtt: {host: h}"])
def test_the_schema_takes_what_the_agent_takes(text: str) -> None:
    jsonschema.validate(yaml.safe_load(text), json_schema())


@pytest.mark.parametrize(
    "text", ["model: m", "mqtt: h\nmodell: m", "mqtt: {host: h, password: x}", "mqtt: h\nsources: {A: {type: usb, device: 0}}"]
)
def test_the_schema_refuses_what_the_agent_refuses(text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), json_schema())


KEYS = sorted(
    {
        name
        for struct in (ConfigFile, MqttConfig, TlsConfig, ModelConfig, PipelineConfig, UrlConfig)
        for name in struct.__struct_fields__
    }
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["m.tflite", "main", "url", "${X}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def _paths(data: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path] + [found for key, value in children for found in _paths(value, (*path, key))]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(value=VALUES, choice=st.integers(min_value=0))
def test_any_change_to_a_config_gives_a_config_or_problems(folder: Path, value: object, choice: int) -> None:
    data = yaml.safe_load(FULL)
    places = _paths(data)[1:]
    *parents, last = places[choice % len(places)]
    target = data
    for key in parents:
        target = target[key]
    target[last] = value
    (folder / "config.yaml").write_bytes(yaml.safe_dump(data, allow_unicode=True).encode("utf-8", "surrogatepass"))
    try:
        load_config(folder / "config.yaml", {})
    except ConfigError as error:
        lines = str(error).split("\n")
        assert all(line.startswith(str(folder)) for line in lines)
        os.fsencode(str(error))


def test_a_password_in_place_of_the_broker_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("model: m.onnx\nsource: 0\nmqtt: viewer:hunter2@broker\n")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "config.yaml")
    assert "expected HOST" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("delegates", "expected"),
    [
        ("xnnpack", 'models.m.delegates: expected a list, got "xnnpack"'),
        ("[{library: libvx.so}]", "models.m.delegates[0].name: missing: expected a name of a-z"),
        ("[{name: vx, optoins: {}}]", "models.m.delegates[0].optoins: unknown key; did you mean options?"),
        (
            "[{name: vx, options: {device: [0]}}]",
            "models.m.delegates[0].options.device: expected text or an integer or a number or true",
        ),
        ("[{name: cpu, library: libvx.so}]", "models.m.delegates[0]: cpu is LiteRT's own and takes no library"),
        ("[{name: vx, library: lib/vx.so}]", "models.m.delegates[0].library: there is no "),
        ("[cpu, {name: cpu}]", "models.m: delegates: cpu is there twice"),
    ],
)
def test_a_wrong_delegate_is_told(tmp_path: Path, delegates: str, expected: str) -> None:
    (error,) = delegate_problems(tmp_path, delegates)
    assert error.removeprefix(f"{tmp_path}/config.yaml:4: ").startswith(expected)


def test_delegates_have_options_as_text(tmp_path: Path) -> None:
    (tmp_path / "vx.so").touch()
    config = load_config(
        delegate_config(tmp_path, "[edgetpu, {name: vx, library: ./vx.so, options: {device: 0, fast: true}}, cpu]")
    )
    assert config.models["m"].asked_delegates() == (
        Delegate("edgetpu"),
        Delegate("vx", str(tmp_path / "vx.so"), {"device": "0", "fast": "true"}),
        Delegate("cpu"),
    )


def delegate_config(folder: Path, delegates: str) -> Path:
    (folder / "m.tflite").touch()
    path = folder / "config.yaml"
    path.write_text(
        "mqtt: localhost\nsources: {a: {type: usb, device: 0}}\npipelines: {a: {source: a, model: m}}\n"
        f"models: {{m: {{bundle: m.tflite, delegates: {delegates}}}}}\n"
    )
    return path


def delegate_problems(folder: Path, delegates: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(delegate_config(folder, delegates))
    return str(caught.value).splitlines()
