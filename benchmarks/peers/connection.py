"""The process that runs anomalib's models, and what is asked of it."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.ways import Answer
from runtime.errors import L2BTError, OptionError
from runtime.images.decode import ImageArray

ENVIRONMENT = Path(".venv-peers")
_ADVICE = "make one in a clone of the project with: make peers-environment"
_WORKER = Path(__file__).with_name("worker.py")
_LINES_SHOWN = 8


class PeerError(L2BTError):
    """Another project's model could not be built or run."""


class PeerWorker:
    """`worker.py` in another environment; a context manager.

    Args:
        environment: The environment's folder.
        folder: Where the process works: exported models, images on their way, its log.
        threads: CPU threads of its libraries.

    Raises:
        OptionError: There is no such environment, or anomalib is not in it.
    """

    def __init__(self, environment: Path, folder: Path, *, threads: int) -> None:
        python = environment.absolute() / "bin" / "python"
        if not python.is_file():
            raise OptionError(f"{environment} is no environment with anomalib in it; {_ADVICE}")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._log = folder / "worker.log"
        self._image: ImageArray | None = None
        with self._log.open("wb") as log:
            # Isolated, so that neither this project's modules nor a PYTHONPATH come in.
            self._process = subprocess.Popen(
                [python, "-I", _WORKER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=folder,
                env=_surroundings(threads),
                text=True,
                encoding="utf-8",
            )
        try:
            self.versions: dict[str, str] = self.ask("versions")
            if "anomalib" not in self.versions:
                raise OptionError(f"anomalib is not installed in {environment}; {_ADVICE}")
        except BaseException:
            self.close()
            raise

    def ask(self, command: str, **fields: Any) -> dict[str, Any]:
        """Send a command and wait for its answer.

        Raises:
            PeerError: It could not be answered.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"command": command, **fields}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # It has ended, which the empty answer tells too.
        line = self._process.stdout.readline()
        if not line:
            raise PeerError(f"the process that runs anomalib ended: {self._last_lines()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise PeerError(f"anomalib could not {command}: {answer['error']}")
        return answer

    def inspect(self, way: str, image: ImageArray, *, want_map: bool) -> Answer:
        """Let one way inspect an image; the time is the worker's, without the way to it.

        Raises:
            PeerError: It failed.
        """
        given, made = self._folder / "image.npy", self._folder / "map.npy"
        # In turns the same image is looked at by several ways in a row.
        if image is not self._image:
            np.save(given, image)
            self._image = image
        answer = self.ask("infer", way=way, image=str(given), map=str(made) if want_map else None)
        return Answer(
            ms=answer["ms"],
            score=answer["score"],
            anomaly_map=np.load(made) if want_map else None,
        )

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write('{"command": "quit"}\n')
            self._process.stdin.close()
            self._process.wait(timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> "PeerWorker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _last_lines(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-_LINES_SHOWN:]) or "it printed nothing"


def _surroundings(threads: int) -> dict[str, str]:
    surroundings = dict(os.environ)
    for library in ("OMP", "MKL", "OPENBLAS"):
        surroundings[f"{library}_NUM_THREADS"] = str(threads)
    if "OMP_WAIT_POLICY" not in os.environ:
        # Waiting threads would spin and take the cores from the way whose turn it is.
        surroundings.setdefault("GOMP_SPINCOUNT", "10000")
    # What would download says so at once instead of trying again.
    surroundings["HF_HUB_OFFLINE"] = "1"
    return surroundings
