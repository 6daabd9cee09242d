"""What messages call the settings of a connection: a device's stand in its config, a desk's are options."""

from typing import NamedTuple


class Settings(NamedTuple):
    """What people call the settings of a connection where they make them."""

    host: str
    port: str
    protocol: str
    user: str
    client_id: str
    ca: str
    cert: str
    key_file: str


DEVICE = Settings(
    host="mqtt.host",
    port="mqtt.port",
    protocol="mqtt.protocol",
    user="mqtt.username, mqtt.password_file",
    client_id="device.id",
    ca="mqtt.tls.ca",
    cert="mqtt.tls.cert",
    key_file="mqtt.tls.key_file",
)
