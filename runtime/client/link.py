"""A connection to one server, opened anew in a forked process."""

import threading
from collections.abc import Callable

from runtime.client.connection import Connection
from runtime.errors import L2BTError


class Link:
    """Holds this process's connection.

    Args:
        connect: Opens one.
    """

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._opening = threading.Lock()
        self._inherited: list[Connection] = []
        self._connection: Connection | None = connect()

    def opened(self) -> Connection:
        """This process's connection.

        Raises:
            L2BTError: It is closed.
        """
        connection = self._connection
        if connection is None:
            raise L2BTError("this client is closed; open a new one")
        if connection.process.is_this_one():
            return connection
        with self._opening:
            if self._connection is connection:
                # Kept, since ending it would end the other process's.
                self._inherited.append(connection)
                self._connection = self._connect()
        return self.opened()

    def close(self) -> None:
        """Give shared memory back and close the connection; may be called twice.

        In a forked process nothing is given back that belongs to the process that it came from.
        """
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if connection.process.is_this_one():
            connection.close()
        else:
            self._inherited.append(connection)
