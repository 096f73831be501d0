"""An interactive window with inspected images, where there is a display."""

import os
import sys
from typing import Any

from runtime.errors import OptionError
from runtime.extras import require
from runtime.images.decode import ImageArray


def check_window() -> None:
    """Refuse before any work is done.

    Raises:
        OptionError: There is no display, or matplotlib has nothing to draw windows with.
        MissingExtraError: matplotlib is not installed.
    """
    on_linux = sys.platform.startswith("linux")
    if on_linux and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise OptionError(
            "--show needs a display, and there is none; use --pictures FOLDER instead"
        )
    pyplot: Any = require("matplotlib.pyplot")
    # Without a window toolkit matplotlib takes this backend, which shows nothing.
    if pyplot.get_backend().lower() == "agg":
        raise OptionError(
            "--show needs a window toolkit, and matplotlib finds none; install the extra 'plot', "
            "in a clone of the project with: pip install '.[plot]'"
        )


def show_picture(picture: ImageArray, *, title: str) -> None:
    """Show a picture that can be zoomed, until its window is closed.

    Args:
        picture: (H, W, 3) uint8 RGB.
        title: The window's title.
    """
    pyplot: Any = require("matplotlib.pyplot")
    figure, axes = pyplot.subplots(figsize=(14, 6), num=title)
    axes.imshow(picture)
    axes.set_axis_off()
    figure.tight_layout()
    pyplot.show()
