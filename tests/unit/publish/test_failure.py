"""Failures that the integration tests cannot provoke."""

import errno
import ssl

import pytest

from agent.publish import failure
from agent.publish.failure import Broker

BROKER = Broker(host="broker.example", port=8883, client_id="gate-03", username=None, protocol="5", tls=True)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (9, "it is not valid yet, or this device's clock is wrong"),
        (10, "it has expired, or this device's clock is wrong"),
        (62, "it is not for 'broker.example': use the name that the certificate has as mqtt.host"),
        (64, "it is not for 'broker.example': use the name that the certificate has as mqtt.host"),
        (19, "self-signed certificate in certificate chain: check mqtt.tls.ca"),
    ],
)
def test_certificates(code: int, text: str) -> None:
    error = ssl.SSLCertVerificationError()
    error.verify_code = code
    error.verify_message = "self-signed certificate in certificate chain"
    assert failure.of_connecting(error, BROKER) == (
        "tls",
        f"MQTT broker broker.example:8883: its TLS certificate is refused: {text}",
    )


def test_an_ipv6_address_is_told_from_its_port() -> None:
    assert str(BROKER._replace(host="::1")) == "MQTT broker [::1]:8883"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (TimeoutError("timed out"), "does not answer: check host, port and firewall"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "cannot be reached: No route to host"),
    ],
)
def test_no_way_there(error: OSError, text: str) -> None:
    assert failure.of_connecting(error, BROKER) == ("unreachable", f"MQTT broker broker.example:8883 {text}")
