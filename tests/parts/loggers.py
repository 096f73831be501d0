"""What is told, and what a test may not leave behind: loggers that show, hide or forget it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO


def state_of_loggers() -> dict[str, object]:
    """Levels, handlers and ways of this project's loggers, and what holds for all."""
    manager = logging.Logger.manager
    state: dict[str, object] = {
        "class": logging.getLoggerClass(),
        "disable": manager.disable,
        "level of the root": manager.root.level,
    }
    for name, logger in manager.loggerDict.items():
        if name.partition(".")[0] == "l2bt" and isinstance(logger, logging.Logger):
            handlers = tuple(map(repr, logger.handlers))
            found = (logger.level, logger.propagate, logger.disabled, handlers)
            # One that was asked for and left as it came is no change.
            if found != (logging.NOTSET, True, False, ()):
                state[name] = found
    return state


@contextmanager
def showing(told: StringIO) -> Iterator[None]:
    """Write what this project tells, for fixtures of a whole file; a test itself takes `caplog`."""
    logger, handler = logging.getLogger("l2bt"), logging.StreamHandler(told)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
