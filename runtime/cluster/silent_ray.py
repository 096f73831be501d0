"""Ray that talks to nobody but its own nodes.

Whatever Ray's switches say, version 2.60 starts a process beside each cluster's head for the
reports on its use. Even where they are off it looks for the metadata service of three clouds, and a
cluster that `ray start` began tells Ray's makers that they are off. Here that process is not
started; with it goes the dashboard. For a cluster of one's own, in place of `ray start`:

    python -m runtime.cluster.silent_ray start --head
"""

from typing import Any

from runtime.extras import require


def silent_ray() -> Any:
    """The module `ray`, whose clusters are started without that process.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    services: Any = require("ray._private.services")
    # What Ray itself gives where its dashboard could not be started.
    services.start_api_server = lambda *_, **__: ("", None)
    return require("ray")


if __name__ == "__main__":
    silent_ray()
    require("ray.scripts.scripts").main()
