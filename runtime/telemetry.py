"""No library that this project uses reports anything to its makers.

A factory's machine talks to whom its user named, and to nobody else; where a network swallows
packets, a library that tries to report also holds every command up for seconds.
"""

import os
import sys

# What each library reads, before it is imported.
_OPT_OUTS = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "NNCF_CI": "1",
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # It would tell its makers that the reports are off; nobody listens here.
    "RAY_USAGE_STATS_REPORT_URL": "http://127.0.0.1:9/",
    "WANDB_ERROR_REPORTING": "false",
}


def silence_libraries() -> None:
    """Opt out, for this process and those that it starts; to be called before they are imported."""
    for name, value in _OPT_OUTS.items():
        os.environ.setdefault(name, value)
    # OpenVINO and NNCF have no switch that a program can set: their opt-out is a file in the home
    # folder. Both go on without this package, as where it is not installed.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
