"""When the present shift began."""

from collections.abc import Sequence
from datetime import datetime, timedelta


def shift_start(now: datetime, starts: Sequence[str]) -> datetime:
    """The latest beginning of a shift that is not in the future.

    Args:
        now: By the clock of this machine.
        starts: Times such as "06:00".
    """
    today = [
        now.replace(hour=int(one[:2]), minute=int(one[3:]), second=0, microsecond=0)
        for one in starts
    ]
    candidates = [at - timedelta(days=back) for at in today for back in (0, 1)]
    return max(at for at in candidates if at <= now)
