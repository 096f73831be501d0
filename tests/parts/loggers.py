"""What a test may not leave behind: loggers that show, hide or forget what the next one tells."""

import logging


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
