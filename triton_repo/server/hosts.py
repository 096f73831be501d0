"""The address that the server listens at, as each of its interfaces wants it written."""

import ipaddress
import socket
from dataclasses import dataclass

from runtime.errors import OptionError

_REACHED_AT = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True)
class ListeningHost:
    """One address of this machine.

    Attributes:
        address: IPv4 or IPv6, without brackets.
    """

    address: str

    @classmethod
    def of(cls, host: str) -> "ListeningHost":
        """Resolve a name, since Triton's HTTP interface listens at addresses alone.

        Args:
            host: A name, or an address, in brackets or not.

        Raises:
            OptionError: No address has this name.
        """
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        try:
            found = socket.getaddrinfo(bare, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise OptionError(
                f"host {host!r} has no address ({error}); expected an address of this machine, "
                "such as 127.0.0.1, ::1 or 0.0.0.0"
            ) from error
        # A name of both kinds, such as localhost, is its IPv4 address, as clients try it first.
        addresses = [str(entry[4][0]) for entry in found]
        return cls(min(addresses, key=lambda address: ":" in address))

    @property
    def is_loopback(self) -> bool:
        """Whether it is reached from this machine alone."""
        return ipaddress.ip_address(self.address.partition("%")[0]).is_loopback

    @property
    def in_address(self) -> str:
        """In front of ":port"."""
        return f"[{self.address}]" if self._is_ipv6 else self.address

    @property
    def for_http(self) -> str:
        """As tritonserver's --http-address and --metrics-address want it."""
        return f"ipv6:{self.address}" if self._is_ipv6 else self.address

    @property
    def reached_at(self) -> "ListeningHost":
        """Where it is reached from this machine; another one where it listens at all addresses."""
        return ListeningHost(_REACHED_AT.get(self.address, self.address))

    def bind(self, port: int) -> socket.socket:
        """An open socket at a port, or at a free one for port 0.

        Raises:
            OSError: It cannot be had.
        """
        bound = socket.socket(socket.AF_INET6 if self._is_ipv6 else socket.AF_INET)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((self.address, port))
        except BaseException:
            bound.close()
            raise
        return bound

    @property
    def _is_ipv6(self) -> bool:
        return ":" in self.address


LOOPBACK = ListeningHost("127.0.0.1")
