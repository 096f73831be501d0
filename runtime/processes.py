"""What a forked process may not take over from the one that it came from."""

import os

from runtime.errors import L2BTError


class Process:
    """The process that something was opened in; a fork is another one.

    Threads do not survive a fork, so that what rests on them (an engine, a stream) would wait for
    ever in the child.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()

    def is_this_one(self) -> bool:
        """False in a child that was forked after this was made."""
        return os.getpid() == self._pid

    def require(self, what: str) -> None:
        """Refuse to be used in a forked child.

        Args:
            what: Such as "this detector".

        Raises:
            L2BTError: This is another process.
        """
        if not self.is_this_one():
            raise L2BTError(
                f"{what} was opened in process {self._pid}, of which process {os.getpid()} is a "
                "fork; open one in the child itself, or start children with multiprocessing's "
                "'spawn'"
            )
