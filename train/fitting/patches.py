"""The patches that are learned from: cached tokens of those images that are not left out."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Tokens: TypeAlias = npt.NDArray[np.float16]


@dataclass(frozen=True, kw_only=True)
class Patches:
    """Rows of patch tokens, still on the disk.

    Attributes:
        tokens: (tiles, T, 2, D) float16; index 0 of the third axis is the shallower block.
        tiles: Numbers of those that count.
    """

    tokens: Tokens
    tiles: npt.NDArray[np.int64]

    @classmethod
    def of(cls, tokens: Tokens, tiles: npt.NDArray[np.int64] | None = None) -> "Patches":
        """The patches of (tiles, T, 2, D) tokens: of all tiles, or of some."""
        return cls(tokens=tokens, tiles=np.arange(len(tokens)) if tiles is None else tiles)

    @property
    def dimension(self) -> int:
        """Width D of a token."""
        return int(self.tokens.shape[-1])

    def __len__(self) -> int:
        return len(self.tiles) * int(self.tokens.shape[1])

    def take(self, rows: npt.NDArray[np.int64]) -> Tokens:
        """(N, 2, D) float16 of these rows, counted over the tiles that count."""
        tile, patch = np.divmod(rows, self.tokens.shape[1])
        return np.asarray(self.tokens[self.tiles[tile], patch])


def as_patches(tokens: Tokens | Patches) -> Patches:
    """Patches as they are, or those of (tiles, T, 2, D) tokens."""
    return tokens if isinstance(tokens, Patches) else Patches.of(tokens)
