"""What each role may do: a viewer looks, an operator reviews, an engineer changes."""

from typing import Literal, TypeAlias, get_args

Role: TypeAlias = Literal["viewer", "operator", "engineer"]
ROLES: tuple[Role, ...] = get_args(Role)


def includes(role: str, least: Role) -> bool:
    """Whether a role may do what `least` may."""
    return role in ROLES and ROLES.index(role) >= ROLES.index(least)
