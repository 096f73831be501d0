"""Checking a model repository without a server.

Finds what tritonserver would refuse, and what it would notice only when the first image comes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runtime.errors import ModelError
from runtime.extras import require
from triton_repo.python_models.entry import check_schema, schema_of

# shape and dtype of a tensor as the ensemble sees it
_Signature = tuple[int, tuple[int, ...]]


def check_repository(repository: Path, *, config_name: str | None = None) -> None:
    """Check names, files, shapes, dtypes and the ensemble's wiring.

    Args:
        repository: The model repository.
        config_name: The custom configuration, as given to `--model-config-name`.

    Raises:
        ModelError: Something is wrong; the message lists everything that is.
    """
    folders = (
        sorted(path for path in repository.iterdir() if path.is_dir())
        if (repository.is_dir())
        else []
    )
    if not folders:
        raise ModelError(f"{repository} is no model repository; fill one with l2bt repository")
    is_custom = config_name is not None
    if is_custom and not any(_custom_path(folder, config_name).is_file() for folder in folders):
        raise ModelError(
            f"{repository} has no configuration {config_name!r}; fill it again with l2bt "
            "repository, for torch-cpu and torch-gpu with --torch-precision"
        )
    configs = {folder.name: _read_config(folder, config_name) for folder in folders}
    problems = [
        f"{folder.name}: {problem}"
        for folder in folders
        for problem in (
            *_folder_problems(folder, configs[folder.name]),
            *_wiring_problems(configs[folder.name], configs),
        )
    ]
    if problems:
        raise ModelError(f"{repository} cannot be served: " + "; ".join(problems))


def _read_config(folder: Path, config_name: str | None) -> Any:
    text_format: Any = require("google.protobuf.text_format")
    protobuf: Any = require("tritonclient.grpc.model_config_pb2")
    path = _custom_path(folder, config_name)
    if config_name is None or not path.is_file():
        path = folder / "config.pbtxt"
    try:
        return text_format.Parse(path.read_text(), protobuf.ModelConfig())
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is no model configuration: {error}") from error


def _custom_path(folder: Path, config_name: str | None) -> Path:
    return folder / "configs" / f"{config_name}.pbtxt"


def _folder_problems(folder: Path, config: Any) -> Iterator[str]:
    if config.name != folder.name:
        yield f"its configuration is named {config.name!r}; expected the folder's name"
    versions = [path for path in folder.iterdir() if path.is_dir() and path.name.isdigit()]
    if not versions:
        yield "has no version folder; expected 1/"
    if config.platform == "ensemble":
        return
    default = "model.plan" if config.platform == "tensorrt_plan" else "model.py"
    needed = config.default_model_filename or default
    for version in versions:
        # Triton looks nowhere else, and a name that a configuration gives may be no name at all.
        if not any(path.name == needed and path.is_file() for path in version.iterdir()):
            yield f"{version.name}/{needed} is missing"
        elif needed == "model.py":
            yield from _shim_problems(version / needed)


def _shim_problems(path: Path) -> Iterator[str]:
    try:
        check_schema(schema_of(path.read_text(errors="replace")), source=path.name)
    except (ModelError, OSError) as error:
        yield str(error)


def _wiring_problems(config: Any, configs: dict[str, Any]) -> Iterator[str]:
    """Every tensor of an ensemble is produced once, with the shape and dtype of who takes it."""
    if config.platform != "ensemble":
        return
    produced = {tensor.name: _signature(config, tensor) for tensor in config.input}
    for step in config.ensemble_scheduling.step:
        model = configs.get(step.model_name)
        if model is None:
            yield f"step {step.model_name!r} is no model of this repository"
            continue
        yield from _input_problems(step, model, produced)
        outputs = {tensor.name: tensor for tensor in model.output}
        for name, tensor_name in step.output_map.items():
            if name not in outputs:
                yield f"{model.name} has no output {name!r}"
            else:
                produced[tensor_name] = _signature(model, outputs[name])
    for tensor in config.output:
        if tensor.name not in produced:
            yield f"output {tensor.name!r} is produced by no step"
        elif not _fit(produced[tensor.name], _signature(config, tensor)):
            yield f"output {tensor.name!r} has another shape or dtype than the step that makes it"


def _input_problems(step: Any, model: Any, produced: dict[str, _Signature]) -> Iterator[str]:
    inputs = {tensor.name: tensor for tensor in model.input}
    for name in step.input_map:
        if name not in inputs:
            yield f"{model.name} has no input {name!r}"
    for name, tensor in inputs.items():
        source = step.input_map.get(name)
        if not source:
            if not tensor.optional:
                yield f"input {name!r} of {model.name} is fed by nothing"
        elif source not in produced:
            yield f"tensor {source!r} for {model.name} is produced by no earlier step"
        elif not _fit(produced[source], _signature(model, tensor)):
            yield (
                f"tensor {source!r} is {produced[source]}, but {model.name} takes "
                f"{_signature(model, tensor)} as {name!r}"
            )


def _signature(config: Any, tensor: Any) -> _Signature:
    batch = (-1,) if config.max_batch_size > 0 else ()
    return tensor.data_type, (*batch, *tensor.dims)


def _fit(one: _Signature, other: _Signature) -> bool:
    same_rank = len(one[1]) == len(other[1])
    sizes = zip(one[1], other[1], strict=False)
    return one[0] == other[0] and same_rank and all(a == b or -1 in (a, b) for a, b in sizes)
