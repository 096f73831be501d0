"""The command of a station: line."""

import signal
import threading
from pathlib import Path


def line(file: Path, *, dry_run: bool = False) -> None:
    """Run an inspection station: cameras or folders in, signals out.

    SIGTERM and Ctrl-C take no more parts, have those that came inspected and told, and end it.

    Args:
        file: The station file; runtime/station/LINE.md says what may stand in it.
        dry_run: Check the file and all that it names, say what would be done, and end.
    """
    from runtime.station.settings.station_file import read_station

    settings = read_station(file)
    if dry_run:
        from runtime.station.dry_run import describe_station

        print(describe_station(settings))
        return
    from runtime.station.station import Station

    station = Station(settings)
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: station.stop())
    station.run(lambda: _say_ready(settings.name))


def _say_ready(name: str) -> None:
    import logging

    logging.getLogger("l2bt.station").info("station %s is ready", name)
