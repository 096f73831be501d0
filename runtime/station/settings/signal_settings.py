"""The tables [[signals]]: who is told of each part's outcome, and how."""

from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

from runtime.client.access import check_address
from runtime.station.settings.checked import Checked, check_name, check_positive

_LEAST_SECRET = 24


STDOUT = Path("-")
"""What names the output stream in place of a file."""


class _Signal(Checked, tag_field="kind", frozen=True, kw_only=True):
    """What all signals have.

    Attributes:
        name: Of the signal; under it the ledger remembers how far it was told.
    """

    name: str

    def __post_init__(self) -> None:
        check_name(self.name)


class MqttSignal(_Signal, tag="mqtt", frozen=True, kw_only=True):
    """Messages to an MQTT 5 broker.

    Attributes:
        broker: host:port.
        topic: Prefix of all topics.
        commands: Whether messages may change the product and trigger sources.
        user: Name at the broker.
        password_file: File with its password.
        tls_ca: Certificate of the authority that signed the broker's, PEM; without it no TLS.
        tls_certificate: The station's own, PEM.
        tls_key: Its private key, PEM.
    """

    broker: str
    topic: str
    commands: bool = False
    user: str | None = None
    password_file: Path | None = None
    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_address(self.broker, name="broker", port=1883)
        if not self.topic or set(self.topic) & set("+#\0") or self.topic[0] in "$/":
            raise ValueError(
                f"topic {self.topic!r}; expected a prefix without + and #, such as plant/press3"
            )
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file belong together; give both")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together; give both")
        if self.tls_certificate is not None and self.tls_ca is None:
            raise ValueError("tls_certificate belongs to tls_ca, which is missing")


class WebhookSignal(_Signal, tag="webhook", frozen=True, kw_only=True):
    """A signed HTTP request for each outcome, again and again until it is answered with 2xx.

    Attributes:
        url: http:// or https://.
        secret_file: File with the secret that requests are signed with; 24 characters and more.
        timeout_s: How long an answer may take, in seconds.
        tls_ca: Certificate of the authority that signed the receiver's, PEM, where the system does
            not know it.
    """

    url: str
    secret_file: Path
    timeout_s: float = 5.0
    tls_ca: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(timeout_s=self.timeout_s)
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url {self.url!r}; expected http://HOST/... or https://HOST/...")
        if parts.username is not None:
            raise ValueError("url holds a password; the secret of secret_file signs requests")
        if self.tls_ca is not None and parts.scheme != "https":
            raise ValueError("tls_ca belongs to an https:// address")

    def secret(self) -> bytes:
        """What requests are signed with.

        Raises:
            ValueError: The file cannot be read, or holds too little.
        """
        text = read_secret(self.secret_file)
        if len(text) < _LEAST_SECRET:
            raise ValueError(
                f"{self.secret_file} holds {len(text)} characters; a secret has "
                f"{_LEAST_SECRET} and more, such as `openssl rand -base64 32` gives"
            )
        return text.encode()


class JsonLinesSignal(_Signal, tag="json-lines", frozen=True, kw_only=True):
    """A line of JSON for each outcome, at the end of a file.

    Attributes:
        path: The file; "-" is the output stream.
    """

    path: Path = STDOUT


class ModbusSignal(_Signal, tag="modbus", frozen=True, kw_only=True):
    """A Modbus TCP server that controllers read outcomes and counters from.

    Attributes:
        listen: host:port.
        commands: Whether controllers may change the product and trigger sources.
        products: Names of products; a controller names them by their place, from 1 on.
    """

    listen: str = "127.0.0.1:5020"
    commands: bool = False
    products: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_address(self.listen, name="listen", port=502)
        if self.products and not self.commands:
            raise ValueError("products belongs to commands = true")


class OpcUaSignal(_Signal, tag="opc-ua", frozen=True, kw_only=True):
    """An OPC UA server after the companion specification for machine vision, OPC 40100-1.

    Attributes:
        listen: host:port.
        commands: Whether clients may change the product and trigger sources.
        sessions: At most so many clients at a time.
        certificate: The server's own, DER or PEM; without it connections are not encrypted.
        key: Its private key.
        user: Name that clients show.
        password_file: File with its password.
        results: So many of the last results can be asked for.
    """

    listen: str = "127.0.0.1:4840"
    commands: bool = False
    sessions: int = 10
    certificate: Path | None = None
    key: Path | None = None
    user: str | None = None
    password_file: Path | None = None
    results: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        check_address(self.listen, name="listen", port=4840)
        check_positive(sessions=self.sessions, results=self.results)
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together; give both")
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file belong together; give both")
        if self.user is not None and self.certificate is None:
            raise ValueError("user needs certificate and key: a password is not sent in the clear")


class GpioSignal(_Signal, tag="gpio", frozen=True, kw_only=True):
    """Lines of a GPIO chip, such as a Jetson's.

    Attributes:
        chip: Its device, such as /dev/gpiochip0.
        accept: Number of the line that is high for `pulse_ms` after an accepted part.
        reject: After a rejected one.
        review: After one that is for review.
        pulse_ms: In milliseconds.
    """

    chip: Path
    reject: int
    accept: int | None = None
    review: int | None = None
    pulse_ms: float = 50.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(pulse_ms=self.pulse_ms)
        lines = [line for line in (self.accept, self.reject, self.review) if line is not None]
        if min(lines) < 0 or len(set(lines)) < len(lines):
            raise ValueError(f"lines {lines}; expected different numbers from 0 on")

    def lines(self) -> dict[str, int]:
        """The line of each action that has one."""
        named = {"accept": self.accept, "reject": self.reject, "review": self.review}
        return {action: line for action, line in named.items() if line is not None}


Signal: TypeAlias = (
    MqttSignal | WebhookSignal | JsonLinesSignal | ModbusSignal | OpcUaSignal | GpioSignal
)
Messages: TypeAlias = MqttSignal | WebhookSignal | JsonLinesSignal
"""They are told each outcome at least once, whatever happens meanwhile."""


def read_secret(path: Path) -> str:
    """The one line of a file with a password or secret.

    Raises:
        ValueError: It cannot be read, or is empty.
    """
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not text:
        raise ValueError(f"{path} is empty; expected a secret")
    return text
