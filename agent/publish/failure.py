"""Why there is no connection to the broker, in one line for people."""

import socket
import ssl
from typing import Literal, NamedTuple

from paho.mqtt.reasoncodes import ReasonCode

from agent.publish.settings import DEVICE, Settings

FailureCode = Literal[
    "unreachable",  # the host's name or address, its port, the way there
    "no_answer",  # it is reached, but says nothing, or no longer
    "tls",
    "authentication",  # user, password or rights
    "client_id",  # the broker does not accept it
    "taken_over",  # by another client with our id
    "protocol_version",
    "refused",  # for another reason that the broker gives
    "lost",
    "unstable",  # accepted and closed, time and again
]

# X509_V_ERR_* of OpenSSL's x509_vfy.h
_NOT_YET_VALID = 9
_EXPIRED = 10
_HOST_MISMATCH = (62, 64)  # name, IP address

# MQTT 5.0, section 2.4; paho gives the return codes of 3.1.1 as these too
_PROTOCOL_ERROR = 0x82
_UNSUPPORTED_PROTOCOL = 0x84
_INVALID_CLIENT_ID = 0x85
_BAD_USER_OR_PASSWORD = 0x86
_NOT_AUTHORIZED = 0x87
_SERVER_SHUTTING_DOWN = 0x8B
_KEEP_ALIVE_TIMEOUT = 0x8D
_SESSION_TAKEN_OVER = 0x8E


class Failure(NamedTuple):
    """What is wrong; detail: one line that names the broker and what to do."""

    code: FailureCode
    detail: str


class Broker(NamedTuple):
    """Whom we talk to, and as whom."""

    host: str
    port: int
    client_id: str
    username: str | None
    protocol: str
    tls: bool
    settings: Settings = DEVICE

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"MQTT broker {host}:{self.port}"


def of_connecting(error: OSError | UnicodeError, broker: Broker) -> Failure:
    """Why the connection or the TLS handshake failed."""
    if isinstance(error, socket.gaierror | UnicodeError):
        return Failure("unreachable", f"{broker}: host name {broker.host!r} is not known: check {broker.settings.host} and the DNS")
    if isinstance(error, ssl.SSLCertVerificationError):
        return Failure("tls", f"{broker}: its TLS certificate is refused: {_why_not_trusted(error, broker)}")
    if isinstance(error, ssl.SSLError | ConnectionResetError):
        why = _reason(error)
        return Failure(
            "tls", f"{broker}: TLS fails ({why}): does this port speak TLS, and is the client certificate the right one?"
        )
    if isinstance(error, ConnectionRefusedError):
        return Failure(
            "unreachable", f"{broker} refuses the connection: nothing listens there; is it running, and is the port right?"
        )
    if isinstance(error, TimeoutError):
        return Failure("unreachable", f"{broker} does not answer: check host, port and firewall")
    return Failure("unreachable", f"{broker} cannot be reached: {error.strerror or error}")


def of_refusal(reason: ReasonCode, broker: Broker) -> Failure:
    """Why the broker refused the MQTT connection."""
    if reason.value == _UNSUPPORTED_PROTOCOL:
        other = "3.1.1" if broker.protocol == "5" else "5"
        return Failure(
            "protocol_version", f'{broker} does not speak MQTT {broker.protocol}: try {broker.settings.protocol} "{other}"'
        )
    if reason.value in (_BAD_USER_OR_PASSWORD, _NOT_AUTHORIZED):
        who = "a client without a user name" if broker.username is None else f"user {broker.username!r}"
        return Failure(
            "authentication",
            f"{broker} refuses {who} ({_named(reason)}): check {broker.settings.user} and its access list",
        )
    if reason.value == _INVALID_CLIENT_ID:
        return Failure(
            "client_id", f"{broker} does not accept the client id {broker.client_id!r}: check {broker.settings.client_id}"
        )
    return Failure("refused", f"{broker} refuses the connection: {_named(reason)}")


def of_ending(reason: ReasonCode, broker: Broker, error: str, *, connected: bool) -> Failure:
    """Why a connection ended. error: what the socket said, if anything; connected: whether the broker had accepted us before."""
    told = {
        _SESSION_TAKEN_OVER: Failure(
            "taken_over",
            f"{broker}: another client uses the client id {broker.client_id!r}; each drives the other out: give each its own",
        ),
        _KEEP_ALIVE_TIMEOUT: Failure("no_answer", f"{broker} has stopped answering"),
        _SERVER_SHUTTING_DOWN: Failure("lost", f"{broker} is shutting down"),
    }
    if reason.value in told:
        return told[reason.value]
    if not connected and reason.value == _PROTOCOL_ERROR:
        return Failure(
            "protocol_version",
            f"{broker} does not answer as MQTT {broker.protocol} does: check {broker.settings.port} and {broker.settings.protocol}",
        )
    if not connected and broker.tls:
        return Failure("tls", f"{broker} closes the TLS connection without an answer: does it want another client certificate?")
    if not connected:
        return Failure("refused", f"{broker} closes the connection without an answer: is the port right, and does it want TLS?")
    return Failure("lost", f"{broker} has closed the connection" + (f": {error}" if error else ""))


def of_silence(broker: Broker) -> Failure:
    """The broker took the connection and never answered it."""
    return Failure("no_answer", f"{broker} takes the connection but does not answer")


def of_instability(broker: Broker) -> Failure:
    """The broker closes connections soon after it accepted them, and gives no reason.

    So looks a take-over with MQTT 3.1.1, and with mosquitto before 2.0.15: eclipse-mosquitto/mosquitto#2607.
    """
    return Failure(
        "unstable",
        f"{broker} keeps accepting and closing the connection: does another client use the client id {broker.client_id!r}?",
    )


def _why_not_trusted(error: ssl.SSLCertVerificationError, broker: Broker) -> str:
    if error.verify_code in _HOST_MISMATCH:
        return f"it is not for {broker.host!r}: use the name that the certificate has as {broker.settings.host}"
    if error.verify_code == _EXPIRED:
        return "it has expired, or this device's clock is wrong"
    if error.verify_code == _NOT_YET_VALID:
        return "it is not valid yet, or this device's clock is wrong"
    return f"{error.verify_message}: check {broker.settings.ca}"


def _reason(error: OSError) -> str:
    return str(getattr(error, "reason", None) or error.strerror or error).replace("_", " ").lower()


def _named(reason: ReasonCode) -> str:
    return str(reason).lower()
