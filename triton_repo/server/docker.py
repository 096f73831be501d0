"""The commands that run the repository in NVIDIA's Triton container."""

from pathlib import Path
from shlex import join

from runtime.engines.tensorrt.manifest import PLAN_NAME
from runtime.errors import ModelError, OptionError
from runtime.products.store.product_store import ENSEMBLE
from triton_repo.configuration.build import CPU, VERSION
from triton_repo.configuration.configs import ENGINE
from triton_repo.server.access import CLOSED_TO_A_NETWORK, OPERATOR
from triton_repo.server.server import ServerSettings

_IMAGE = "l2bt-edge-server"
_TOKEN = "L2BT_OPERATOR_TOKEN"
_DOCKERFILE = Path(__file__).parents[1] / "deploy" / "Dockerfile"


def docker_command(repository: Path, *, device: str, settings: ServerSettings) -> str:
    """Shell text that builds the image and runs it.

    Args:
        repository: The model repository.
        device: "cpu" or "gpu".
        settings: Host and ports on which the container is reached.

    Raises:
        OptionError: The device is unknown, or this is no clone of the project.
        ModelError: A GPU is wished for, and the repository holds no TensorRT engine.
    """
    if device not in ("cpu", "gpu"):
        raise OptionError(f"device {device!r}; expected 'cpu' or 'gpu'")
    if device == "gpu" and not (repository / ENGINE / VERSION / PLAN_NAME).is_file():
        raise ModelError(
            f"{repository} holds no TensorRT engine; build one on that machine with l2bt engine, "
            "and add it with l2bt repository --engine"
        )
    if not _DOCKERFILE.is_file():
        raise OptionError(
            f"{_DOCKERFILE} is missing: the image is built from a clone of the project; run the "
            "command there, in an environment made by make setup"
        )
    ports = [
        part
        for outside, inside in (
            (settings.grpc_port, 8001),
            (settings.http_port, 8000),
            (settings.metrics_port, 8002),
        )
        for part in ("-p", f"{settings.listens_at.in_address}:{outside}:{inside}")
    ]
    # 64 MB of shared memory, docker's default, is too little for one large image.
    run = ["docker", "run", "--rm", "--shm-size=1g", "-e", _TOKEN, *ports]
    run += ["--gpus=all"] if device == "gpu" else []
    run += ["-v", f"{repository.resolve()}:/models:ro", _IMAGE]
    server = ["tritonserver", "--model-repository=/models", "--model-control-mode=explicit"]
    server += [f"--load-model={ENSEMBLE}", "--disable-auto-complete-config"]
    server += [f"--model-config-name={CPU}"] if device == "cpu" else []
    # The engine must fit the container's TensorRT and the GPU it was given.
    check = ["l2bt", "doctor", f"--device={device}", "--repository=/models"]
    # Expanded by the container's shell, so that the token stands in no file and no history.
    limit = f"{','.join(CLOSED_TO_A_NETWORK)}:{OPERATOR}=${{{_TOKEN}:?set it to a secret}}"
    closed = f'"--grpc-restricted-protocol={limit}" "--http-restricted-api={limit}"'
    run += ["sh", "-c", f"{join(check)} && exec {join(server)} {closed}"]
    build = ["docker", "build", "-t", _IMAGE, "-f", str(_DOCKERFILE), str(_DOCKERFILE.parents[2])]
    return f"{join(build)}\n{join(run)}"
