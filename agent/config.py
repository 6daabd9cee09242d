"""The device's configuration: the file as people write it, and `Config`, in which everything is decided.

python -m agent.config > docs/config.schema.json
"""

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from agent.bundles.load import in_store
from agent.checked import Name, check, suggest, suggest_file
from agent.device import device_id, state_dir
from agent.document import Document, Keys, load_yaml, merge, show
from agent.errors import ConfigError
from agent.pipeline.config import DelegateConfig, ModelConfig, PipelineConfig, PublishConfig
from agent.publish.config import MqttConfig
from agent.sources.config import PICTURES, FileConfig, ImagesConfig, SourceConfig, UrlConfig, UsbConfig
from agent.update.config import UpdatesConfig

MAIN = "main"  # what the short form calls its source, slot and pipeline
SCHEMES = ("rtsp", "rtsps", "http", "https")
MAX_SECRET_BYTES = 4096
BROKER = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\s:/@\[\]]+))(?::(?P<port>\d{1,5}))?")

NOT_BUILT = "not built yet in this version; leave it out"
NO_PASSWORD = "a password may not stand in the config; put it into a file of its own and say password_file: FILE"  # noqa: S105  a message


class DeviceConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """id: its name on the broker; auto: the host's, with the board's serial number where that is generic. labels: for operators."""

    id: Name = "auto"
    labels: dict[Name, str] = {}


class ConfigFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file: `mqtt`, and either `model` and `source`, or `sources`, `models` and `pipelines`.

    mqtt: HOST, HOST:PORT or a map. model: a model file, a bundle's directory, or name@version. source: a camera's number or device,
    a URL, a video, pictures or a folder of them. state_dir: where the agent keeps what must outlive it.
    """

    version: Literal[1] = 1
    device: DeviceConfig = DeviceConfig()
    model: str | None = None
    source: int | str | list[str] | None = None
    sources: dict[Name, SourceConfig] = {}
    models: dict[Name, ModelConfig] = {}
    pipelines: dict[Name, PipelineConfig] = {}
    mqtt: str | MqttConfig | None = None
    updates: UpdatesConfig | None = None
    state_dir: str | None = None


REFUSED = {
    (PipelineConfig, "window"): NOT_BUILT,
    (PublishConfig, "delivery"): NOT_BUILT,
    (MqttConfig, "password"): NO_PASSWORD,
    (UrlConfig, "password"): NO_PASSWORD,
}


@dataclass(frozen=True, slots=True)
class Config:
    """What the agent runs on: paths are absolute and exist, secrets are read, every name that is used is there.

    sources: a camera's password is in `UrlConfig.password` or in its URL. mqtt: port is given, and username where there is a
    password. updates: None where models come from the config alone.
    """

    device_id: str
    device_labels: dict[str, str]
    sources: dict[str, SourceConfig] = field(repr=False)
    models: dict[str, ModelConfig]
    pipelines: dict[str, PipelineConfig]
    mqtt: MqttConfig
    mqtt_password: str | None = field(repr=False)
    updates: UpdatesConfig | None
    state_dir: Path


def load_config(path: Path, env: Mapping[str, str] = os.environ) -> Config:
    """Read a config file, and over it those of `config.d` beside it in the order of their names.

    Raises ConfigError with every problem, one a line.
    """
    if not os.path.exists(path):  # noqa: PTH110  Path.exists raises for a name that is too long
        raise ConfigError(f"{path}: there is no such config{suggest_file(path)}")
    problems: list[str] = []
    overlays = _overlays(path.parent / "config.d", problems)
    documents = [load_yaml(file, problems, env) for file in (path, *overlays)]
    read = [document for document in documents if document is not None]
    if len(read) < len(documents):
        raise ConfigError("\n".join(problems))
    document = merge(read)
    file = check(document, ConfigFile, problems, REFUSED)
    if file is None:
        raise ConfigError("\n".join(problems))
    return _Resolver(path.parent.absolute(), env, document, problems).resolve(file)


def _overlays(folder: Path, problems: list[str]) -> list[Path]:
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208  names are wanted, not paths
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        problems.append(f"{folder}: {error.strerror}")
        return []
    return [folder / name for name in names if name.endswith(".yaml") and not name.startswith(".")]


def config_from_parts(
    *, model: str, source: str | Sequence[str], mqtt: str, labels: str | None = None, env: Mapping[str, str] = os.environ
) -> Config:
    """The config of `run --model M --source S --mqtt HOST[:PORT]`, everything called `main`; paths start in the working directory.

    labels: a label list for a bare model file. Raises ConfigError with every problem, one a line.
    """
    options: dict[Keys, Keys] = {
        ("models", MAIN, "bundle"): ("--model",),
        ("models", MAIN, "labels"): ("--labels",),
        ("source",): ("--source",),
        ("sources", MAIN): ("--source",),
        ("mqtt",): ("--mqtt",),
    }
    file = ConfigFile(source=source if isinstance(source, str) else list(source), mqtt=mqtt)
    return _Resolver(Path.cwd(), env, Document({}), [], options).resolve(file, ModelConfig(bundle=model, labels=labels))


def broker_from(text: str) -> MqttConfig:
    """A broker, as people say it: HOST or HOST:PORT. Raises ValueError."""
    match = BROKER.fullmatch(text)
    port = int(match["port"] or 1883) if match else 0
    if not match or not 1 <= port <= 65535:
        raise ValueError(f"expected HOST or HOST:PORT, got {show(text)}")
    return MqttConfig(host=match["v6"] or match["host"], port=port)


def source_from(what: int | str | list[str], base: Path = Path()) -> SourceConfig:
    """What a person means by a word: 0, /dev/video0, rtsp://…, a video, a picture, a folder or a list of pictures.

    base: where relative paths start. Raises ValueError for nothing, and for a URL of no kind that can be read.
    """
    if what in ("", []):
        raise ValueError("expected a camera, a URL, a video or pictures, got nothing")
    if isinstance(what, list):
        return ImagesConfig(path=[str(base / path) for path in what])
    if isinstance(what, int) or (what.isdecimal() and len(what) <= 3):
        return UsbConfig(device=int(what))
    if what.startswith("/dev/"):
        return UsbConfig(device=what)
    if "://" in what:
        _check_url(what)
        return UrlConfig(url=what)
    path = base / what
    is_pictures = path.suffix.lower() in PICTURES or os.path.isdir(path)  # noqa: PTH112  Path.is_dir raises for a name that is too long
    return ImagesConfig(path=str(path)) if is_pictures else FileConfig(path=str(path))


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValueError(
            f"{show(url)} is no address of a camera; expected {' or '.join(f'{scheme}://HOST/…' for scheme in SCHEMES)}"
        )


class _Resolver:
    """Decides what the file leaves open and checks it against the machine.

    aliases: what the person wrote in place of a path of the full form.
    """

    def __init__(
        self,
        base: Path,
        env: Mapping[str, str],
        document: Document,
        problems: list[str],
        aliases: Mapping[Keys, Keys] | None = None,
    ) -> None:
        self._base = base
        self._env = env
        self._document = document
        self._data: dict[str, Any] = document.data if isinstance(document.data, dict) else {}
        self._problems = problems
        self._aliases = aliases or {("sources", MAIN): ("source",), ("models", MAIN, "bundle"): ("model",)}
        self._short = False

    def resolve(self, file: ConfigFile, slot: ModelConfig | None = None) -> Config:
        """slot: the model of the command line. Raises ConfigError."""
        self._short = slot is not None or any(self._data.get(name) is not None for name in ("model", "source"))
        if self._short:
            file = self._expand(file, slot)
        for name in ("sources", "models", "pipelines"):
            if not self._short and self._data.get(name, {}) == {}:
                self._problem((name,), "missing: give at least one, or the short form with model and source")
        for name, pipeline in file.pipelines.items():
            self._name(("pipelines", name, "source"), pipeline.source, "sources")
            self._name(("pipelines", name, "model"), pipeline.model, "models")
        identity = self._device_id(file.device.id)
        mqtt, password = self._mqtt(file.mqtt, identity)
        config = Config(
            device_id=identity,
            device_labels=file.device.labels,
            sources={name: self._source(("sources", name), source) for name, source in file.sources.items()},
            models={name: self._model(("models", name), model) for name, model in file.models.items()},
            pipelines=file.pipelines,
            mqtt=mqtt,
            mqtt_password=password,
            updates=file.updates and self._updates(file.updates),
            state_dir=self._state_dir(file.state_dir),
        )
        if self._problems:
            raise ConfigError("\n".join(self._problems))
        return config

    def _expand(self, file: ConfigFile, slot: ModelConfig | None) -> ConfigFile:
        for name in ("sources", "models", "pipelines"):
            if name in self._data:
                self._problem((name,), "model and source are the short form, which goes without this; use one form or the other")
        sources: dict[str, SourceConfig] = {}
        if file.source is not None:
            try:
                sources = {MAIN: source_from(file.source, self._base)}
            except ValueError as error:
                self._problem(("source",), str(error))
        elif self._data.get("source") is None:
            self._problem(("source",), "missing: the short form is model and source")
        if file.model is not None:
            slot = ModelConfig(bundle=file.model)
        elif slot is None and self._data.get("model") is None:
            self._problem(("model",), "missing: the short form is model and source")
        pipelines = {MAIN: PipelineConfig(source=MAIN, model=MAIN)}
        return replace(file, sources=sources, models={MAIN: slot} if slot else {}, pipelines=pipelines)

    def _source(self, keys: Keys, source: SourceConfig) -> SourceConfig:
        match source:
            case FileConfig():
                return replace(source, path=self._existing((*keys, "path"), source.path))
            case ImagesConfig():
                single = isinstance(source.path, str)
                paths = [source.path] if isinstance(source.path, str) else source.path
                found = [self._existing((*keys, "path", *(() if single else (i,))), path) for i, path in enumerate(paths)]
                return replace(source, path=found[0] if single else found)
            case UrlConfig():
                return self._url(keys, source)
        return source

    def _url(self, keys: Keys, source: UrlConfig) -> UrlConfig:
        try:
            _check_url(source.url)
        except ValueError as error:
            self._problem((*keys, "url"), str(error))
        if source.password_file is None:
            return source
        if source.username is None:
            self._problem((*keys, "username"), "missing: whose password is it?")
        return replace(source, password=self._secret((*keys, "password_file"), source.password_file))

    def _model(self, keys: Keys, model: ModelConfig) -> ModelConfig:
        bundle = model.bundle if in_store(model.bundle) else self._existing((*keys, "bundle"), model.bundle)
        labels = model.labels and self._existing((*keys, "labels"), model.labels)
        delegates = [self._delegate((*keys, "delegates", i, "library"), one) for i, one in enumerate(model.delegates)]
        return replace(model, bundle=bundle, labels=labels, delegates=delegates)

    def _delegate(self, keys: Keys, delegate: str | DelegateConfig) -> str | DelegateConfig:
        """With its library as a path, unless that is a name for the system to find."""
        if isinstance(delegate, str) or delegate.library is None or "/" not in delegate.library:
            return delegate
        return replace(delegate, library=self._existing(keys, delegate.library))

    def _mqtt(self, mqtt: str | MqttConfig | None, identity: str) -> tuple[MqttConfig, str | None]:
        keys = ("mqtt",)
        nowhere = MqttConfig(host="")
        if mqtt is None:
            if self._data.get("mqtt") is None:
                self._problem(keys, "missing: say mqtt: HOST")
            return nowhere, None
        if isinstance(mqtt, str):
            try:
                return broker_from(mqtt), None
            except ValueError as error:
                self._problem(keys, str(error))
                return nowhere, None
        if not mqtt.host or re.search(r"[\s/@]", mqtt.host):
            self._problem((*keys, "host"), f"expected a host's name or address alone, got {show(mqtt.host)}")
        tls = mqtt.tls and replace(
            mqtt.tls,
            ca=mqtt.tls.ca and self._existing((*keys, "tls", "ca"), mqtt.tls.ca),
            cert=mqtt.tls.cert and self._existing((*keys, "tls", "cert"), mqtt.tls.cert),
            key_file=mqtt.tls.key_file and self._private((*keys, "tls", "key_file"), mqtt.tls.key_file),
        )
        if tls and tls.key_file and not tls.cert:
            self._problem((*keys, "tls", "cert"), "missing: the certificate that belongs to key_file")
        password = mqtt.password_file and self._secret((*keys, "password_file"), mqtt.password_file)
        username = mqtt.username or (identity if password else None)
        return replace(mqtt, port=mqtt.port or (8883 if tls else 1883), username=username, tls=tls), password

    def _updates(self, updates: UpdatesConfig) -> UpdatesConfig:
        keys = ("updates",)
        if updates.repository is not None:
            self._repository((*keys, "repository"), updates.repository)
            if updates.trust_root is None:
                self._problem((*keys, "trust_root"), "missing: the root.json by which the repository's signatures are checked")
        elif updates.trust_root is not None:
            self._problem((*keys, "repository"), "missing: whose trust_root is it?")
        if updates.timezone is not None:
            self._timezone((*keys, "timezone"), updates.timezone)
            if updates.window is None:
                self._problem((*keys, "timezone"), "it is that of the window, and there is none")
        begin, _, end = (updates.window or "").partition("-")
        if begin and begin == end:
            self._problem((*keys, "window"), f"{show(updates.window)} has no length; leave it out for the whole day")
        return replace(updates, trust_root=updates.trust_root and self._existing((*keys, "trust_root"), updates.trust_root))

    def _repository(self, keys: Keys, url: str) -> None:
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            self._problem(keys, "expected http://HOST/… or https://HOST/…")  # not shown: it may hold a password
            return
        if parts.username is not None or parts.password is not None:
            self._problem(keys, "no user or password may stand in it: what it serves is signed, and need not be secret")
        elif not good or parts.query or parts.fragment:
            self._problem(keys, f"expected http://HOST/… or https://HOST/…, got {show(url)}")

    def _timezone(self, keys: Keys, name: str) -> None:
        import zoneinfo  # noqa: PLC0415  few configs name one

        try:
            zoneinfo.ZoneInfo(name)
        except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
            near = suggest(name, zoneinfo.available_timezones())
            self._problem(keys, f"this computer knows no time zone {show(name)}{near or '; expected one such as Europe/Paris'}")

    def _device_id(self, wanted: str) -> str:
        if wanted != "auto":
            return wanted
        found = device_id()
        if found is None:
            self._problem(("device", "id"), "this host has a generic name and no serial number; say device: {id: NAME}")
        return found or ""

    def _state_dir(self, text: str | None) -> Path:
        path = self._base / text if text else state_dir(self._env)
        if os.path.exists(path) and not os.path.isdir(path):  # noqa: PTH110, PTH112  as below
            self._problem(("state_dir",), f"{path} is a file; name a folder that can be written")
        return path

    def _existing(self, keys: Keys, text: str) -> str:
        """An absolute path; a problem where there is nothing."""
        path = self._base / text
        if not text:
            self._problem(keys, "expected a path, got nothing")
        elif not os.path.exists(path):  # noqa: PTH110  Path.exists raises for a name that is too long
            self._problem(keys, f"there is no {path}{suggest_file(path)}")
        return str(path)

    def _private(self, keys: Keys, text: str) -> str:
        """As `_existing`; a problem where others may read it, unless systemd has put it there for us alone."""
        path = Path(self._existing(keys, text))
        credentials = self._env.get("CREDENTIALS_DIRECTORY")
        ours_alone = credentials is not None and path.is_relative_to(credentials)
        if os.path.isdir(path):  # noqa: PTH112  as above
            self._problem(keys, f"{path} is a folder")
        elif os.path.isfile(path) and not ours_alone and path.stat().st_mode & 0o077:  # noqa: PTH113  as above
            self._problem(keys, f"others can read {path}; run: chmod 600 {path}")
        return str(path)

    def _secret(self, keys: Keys, text: str) -> str | None:
        """The one line of a private file."""
        path = Path(self._private(keys, text))
        if not os.path.isfile(path):  # noqa: PTH113  as above
            return None
        try:
            with path.open("rb") as file:
                secret = file.read(MAX_SECRET_BYTES + 1).decode().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            self._problem(keys, f"{path}: {error.strerror if isinstance(error, OSError) else 'not text'}")
            return None
        if not secret.isprintable() or not 0 < len(secret) <= MAX_SECRET_BYTES:
            self._problem(keys, f"{path} must hold the secret alone, in one line")
        return secret

    def _name(self, keys: Keys, name: str, section: str) -> None:
        """Report a name that its section does not have; one that was written there wrongly has been reported."""
        there = self._data.get(section)
        if not self._short and isinstance(there, dict) and name not in there:
            self._problem(keys, f"there is no {show(name)} in {section}{suggest(name, there) or '; there is ' + ', '.join(there)}")

    def _problem(self, keys: Keys, message: str) -> None:
        if self._short:
            known = next((prefix for prefix in self._aliases if keys[: len(prefix)] == prefix), ())
            keys = self._aliases.get(known, keys)
        self._problems.append(self._document.problem(keys, message))


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the file, for editors."""
    schema = msgspec.json.schema(ConfigFile)
    definitions = schema["$defs"]
    for class_, key in REFUSED:
        definitions[class_.__name__]["properties"].pop(key, None)
    definitions["ConfigFile"]["required"] = ["mqtt"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "edge-agent's device config", **schema}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
