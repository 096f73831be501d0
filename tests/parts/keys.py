"""Keys to sign bundles with."""

from dataclasses import dataclass
from pathlib import Path

from runtime.products.trust.signing_keys import make_key_pair


@dataclass(frozen=True, kw_only=True)
class Keys:
    private: Path
    public: Path
    name: str


def new_keys(folder: Path) -> Keys:
    private, public = folder / "sign.pem", folder / "trust.pem"
    return Keys(private=private, public=public, name=make_key_pair(private, public))
