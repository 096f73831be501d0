"""What a plant's machines may ask of a station."""

from typing import Protocol


class Commands(Protocol):
    """The station's; safe from several threads."""

    def change_product(self, product: str) -> None:
        """Hold parts against another product, from the next one on.

        Raises:
            L2BTError: There is no such product, or what inspects cannot be asked.
        """

    def trigger(self, source: str, *, request: str = "") -> None:
        """Have a source take a frame.

        Args:
            source: Its name; empty where there is one alone that takes messages.
            request: What the machine calls the part.

        Raises:
            L2BTError: There is no such source, or too many messages wait for it.
        """
