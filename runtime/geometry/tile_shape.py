"""What shape the network's input has."""


def tile_wh_of(
    image_size: int, *, patch_size: int, image_wh: tuple[int, int] | None = None
) -> tuple[int, int]:
    """Width and height in px of the network's input.

    Args:
        image_size: Its longer side in px, a multiple of `patch_size`.
        patch_size: Side of the teacher's patches in px.
        image_wh: Width and height of the images whose shape it shall have, in px; it is a square if
            they are left out. The shorter side is rounded up to whole patches.
    """
    if image_wh is None:
        return image_size, image_size
    unit = max(image_wh) * patch_size
    width, height = (-(-image_size * side // unit) * patch_size for side in image_wh)
    return width, height


def describe_wh(wh: tuple[int, int]) -> str:
    """Width and height in px, for people."""
    width, height = wh
    return f"{width} px" if width == height else f"{width} x {height} px"
