"""Which AU-PRO the tables show."""

from typing import Literal, TypeAlias, get_args

ProtocolName: TypeAlias = Literal["exact", "paper"]
"""Over every threshold, or at the 99 thresholds of the paper's authors."""
PROTOCOLS: tuple[ProtocolName, ...] = get_args(ProtocolName)
