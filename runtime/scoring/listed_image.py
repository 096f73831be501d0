"""An image as a listing has it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ListedImage:
    """An image as a listing has it.

    Attributes:
        name: Its path below the collection, or as a list has it.
        size_bytes: Of its file; None where the listing does not say.
        modified_s: When its file was last written, in seconds since 1970; None likewise.
    """

    name: str
    size_bytes: int | None
    modified_s: float | None
