"""TLS towards the broker."""

import ssl
from pathlib import Path

from agent.errors import ConfigError
from agent.publish.config import TlsConfig
from agent.publish.settings import DEVICE, Settings


class _ClosedOnFailure(ssl.SSLSocket):
    """A socket whose failed handshake closes it: paho drops its only reference without closing."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def client_context(config: TlsConfig, settings: Settings = DEVICE) -> ssl.SSLContext:
    """What a connection is made with: TLS 1.2 or later, the broker's certificate and host name checked.

    Raises ConfigError, naming the setting and the file, for one that cannot be read or does not fit.
    """
    if config.key_file and not config.cert:
        raise ConfigError(f"{settings.key_file}: there is no {settings.cert} that it could belong to")
    for key in ("ca", "cert", "key_file"):
        path = getattr(config, key)
        if path:
            _check_readable(getattr(settings, key), path)
    try:
        context = ssl.create_default_context(cafile=config.ca)
    except ssl.SSLError as error:
        raise ConfigError(f"{settings.ca}: {config.ca}: not a PEM file of certificates ({error.reason})") from None
    context.sslsocket_class = _ClosedOnFailure
    if config.cert:
        try:
            # an empty password instead of a prompt on the terminal
            context.load_cert_chain(config.cert, config.key_file, password="")
        except ssl.SSLError as error:
            files = config.cert if config.key_file is None else f"{config.cert}, {config.key_file}"
            where = f"{settings.cert}, {settings.key_file}: {files}"
            raise ConfigError(f"{where}: not a PEM certificate and its key, without a password ({error.reason})") from None
    return context


def _check_readable(setting: str, path: str) -> None:
    try:
        Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{setting}: {path}: {error.strerror}") from None
