"""The models' configurations: typed here, turned into Triton's protobuf, never edited by hand.

The ensemble has three steps. `preprocess` and `postprocess` take one image a request (their maximum
batch is 0); the engine batches, so that tiles of concurrent requests run together.
"""

import json
from dataclasses import dataclass
from typing import Any

from runtime.client.client import PRIORITIES
from runtime.client.wire import (
    ANOMALY_MAP,
    ASSIGNMENT,
    DETAILS,
    ENCODED,
    IMAGE,
    IMAGE_SIZE,
    REGION_COLUMNS,
    REGIONS,
    SCORE,
    STAMPS_NS,
    VERDICT,
)
from runtime.engines.network import INPUT_NAME, OUTPUT_NAME, SLOT_NAME
from runtime.engines.tensorrt.manifest import PLAN_NAME, EngineManifest, TileProfile
from runtime.extras import require
from runtime.products.store.product_store import ENSEMBLE
from triton_repo.configuration.repository_settings import RepositorySettings

PREPROCESS, ENGINE, POSTPROCESS = "preprocess", "engine", "postprocess"
_MOST_TILES = 128
_LONGEST_WAIT_US = 3_600_000_000
# So many tiles are one batch of each size that the engine of PyTorch knows, each recorded then.
_TORCH_WARM_UP_TILES = 15


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: The tensor's name.
        dtype: Triton's name of its type, such as "TYPE_UINT8".
        dims: Its shape without the batch; -1 is any size.
        flattened: Whether the model takes the batch alone of a shape of (N, 1).
        optional: Whether a request may leave it out.
    """

    name: str
    dtype: str
    dims: tuple[int, ...]
    optional: bool = False
    flattened: bool = False


@dataclass(frozen=True, kw_only=True)
class TensorSpecs:
    """All tensors that the four models exchange, for tiles of one size.

    Attributes:
        tile_wh: Width and height of a tile in px.
        grid_wh: Width and height of its patch map in patches.
    """

    tile_wh: tuple[int, int]
    grid_wh: tuple[int, int]

    @property
    def images(self) -> tuple[TensorSpec, ...]:
        """What a client sends: the pixels, or an encoded file."""
        return (
            TensorSpec(name=IMAGE, dtype="TYPE_UINT8", dims=(-1, -1, 3), optional=True),
            TensorSpec(name=ENCODED, dtype="TYPE_STRING", dims=(1,), optional=True),
        )

    @property
    def tile(self) -> TensorSpec:
        """What the engine sees."""
        width, height = self.tile_wh
        return TensorSpec(name=INPUT_NAME, dtype="TYPE_UINT8", dims=(height, width, 3))

    @property
    def slot(self) -> TensorSpec:
        """The slot of each tile's product in the bank of students."""
        return TensorSpec(name=SLOT_NAME, dtype="TYPE_INT32", dims=(1,), flattened=True)

    @property
    def engine_inputs(self) -> tuple[TensorSpec, ...]:
        """What the engine takes."""
        return self.tile, self.slot

    @property
    def patch_map(self) -> TensorSpec:
        """What the engine gives."""
        columns, rows = self.grid_wh
        return TensorSpec(name=OUTPUT_NAME, dtype="TYPE_FP32", dims=(rows, columns))

    @property
    def context(self) -> tuple[TensorSpec, ...]:
        """What goes past the engine, from `preprocess` to `postprocess`."""
        return (
            TensorSpec(name=ASSIGNMENT, dtype="TYPE_INT64", dims=(1,)),
            TensorSpec(name=IMAGE_SIZE, dtype="TYPE_INT32", dims=(2,)),
            TensorSpec(name=STAMPS_NS, dtype="TYPE_INT64", dims=(3,)),
        )

    @property
    def answers(self) -> tuple[TensorSpec, ...]:
        """What a client gets."""
        return (
            TensorSpec(name=SCORE, dtype="TYPE_FP32", dims=(1,)),
            TensorSpec(name=VERDICT, dtype="TYPE_STRING", dims=(1,)),
            TensorSpec(name=REGIONS, dtype="TYPE_FP64", dims=(-1, len(REGION_COLUMNS))),
            TensorSpec(name=DETAILS, dtype="TYPE_STRING", dims=(1,)),
            TensorSpec(name=ANOMALY_MAP, dtype="TYPE_FP32", dims=(-1, -1)),
        )


def batch_of(spec: TensorSpec) -> TensorSpec:
    """The same tensor with an explicit first dimension, for models that do not batch themselves."""
    return TensorSpec(name=spec.name, dtype=spec.dtype, dims=(-1, *spec.dims))


def model_configs(
    specs: TensorSpecs,
    settings: RepositorySettings,
    *,
    engine_manifest: EngineManifest | None = None,
) -> dict[str, Any]:
    """The production configuration of each model, as `ModelConfig` protobufs by model name.

    Args:
        specs: The tensors.
        settings: What may be chosen.
        engine_manifest: That of the TensorRT engine, which is warmed up for one tile and for the
            best number. If its products are live, a python model runs it.
    """
    post_inputs = (batch_of(specs.patch_map), *specs.context)
    is_live = engine_manifest is not None and engine_manifest.live_products
    if is_live:
        engine = _python_engine(specs, settings)
        engine.parameters["device"].string_value = "gpu"
    else:
        engine = _model(
            ENGINE,
            specs.engine_inputs,
            (specs.patch_map,),
            instances=settings.gpu_instances,
            # A plan runs on every GPU that Triton sees, and on nothing else.
            kind="KIND_AUTO",
            batch=_most_tiles(settings),
            platform="tensorrt_plan",
            default_model_filename=PLAN_NAME,
        )
        _batch_dynamically(engine, settings)
        engine.optimization.cuda.graphs = settings.cuda_graphs
    profile = engine_manifest.profile if engine_manifest is not None else TileProfile()
    for tiles in sorted({1, min(profile.best, _most_tiles(settings))}):
        _warm_up(engine, specs.engine_inputs, tiles)
    preprocess = _preprocess(specs, settings)
    if engine_manifest is not None and not is_live:
        # Triton's TensorRT backend cannot be given other students than the plan's.
        written = {str(slot): sha256 for slot, sha256 in engine_manifest.written.items()}
        preprocess.parameters["written"].string_value = json.dumps(written)
    postprocess = _image_model(POSTPROCESS, post_inputs, specs.answers, settings)
    postprocess.parameters["engine"].string_value = (
        engine_manifest.description if engine_manifest is not None else "tensorrt gpu"
    )
    return {
        PREPROCESS: preprocess,
        ENGINE: engine,
        POSTPROCESS: postprocess,
        ENSEMBLE: _ensemble(specs),
    }


def cpu_configs(specs: TensorSpecs, settings: RepositorySettings) -> dict[str, Any]:
    """What differs with `--model-config-name=cpu`: the engine is a python model with OpenVINO."""
    engine = _python_engine(specs, settings)
    engine.instance_group[0].count = settings.cpu_instances
    engine.parameters["device"].string_value = "cpu"
    engine.parameters["precision"].string_value = settings.cpu_precision
    engine.parameters["threads"].string_value = str(settings.cpu_threads)
    postprocess = model_configs(specs, settings)[POSTPROCESS]
    postprocess.parameters["engine"].string_value = f"openvino cpu {settings.cpu_precision}"
    return {PREPROCESS: _preprocess(specs, settings), ENGINE: engine, POSTPROCESS: postprocess}


def torch_configs(
    specs: TensorSpecs, settings: RepositorySettings, *, device: str
) -> dict[str, Any]:
    """What differs with the configurations `torch-cpu` and `torch-gpu`: PyTorch runs the engine.

    Args:
        specs: The tensors.
        settings: What may be chosen; `torch_precision` is named.
        device: "cpu" or "gpu".
    """
    assert settings.torch_precision is not None
    configs = cpu_configs(specs, settings)
    engine = configs[ENGINE]
    engine.instance_group[0].count = 1
    engine.parameters["library"].string_value = "torch"
    engine.parameters["device"].string_value = device
    engine.parameters["precision"].string_value = settings.torch_precision
    if device == "gpu":
        for tiles in sorted({1, min(_TORCH_WARM_UP_TILES, _most_tiles(settings))}):
            _warm_up(engine, specs.engine_inputs, tiles)
    described = f"pytorch {device} {settings.torch_precision}"
    configs[POSTPROCESS].parameters["engine"].string_value = described
    return configs


def to_text(config: Any) -> str:
    """A configuration as the text of `config.pbtxt`."""
    text_format: Any = require("google.protobuf.text_format")
    return str(text_format.MessageToString(config))


def _preprocess(specs: TensorSpecs, settings: RepositorySettings) -> Any:
    outputs = (*(batch_of(spec) for spec in specs.engine_inputs), *specs.context)
    config = _image_model(PREPROCESS, specs.images, outputs, settings)
    config.parameters["max_batch_tiles"].string_value = str(_most_tiles(settings))
    config.parameters["max_megapixels"].string_value = f"{settings.max_megapixels:g}"
    _bound_queue(config, settings)
    return config


def _python_engine(specs: TensorSpecs, settings: RepositorySettings) -> Any:
    config = _model(
        ENGINE,
        specs.engine_inputs,
        (specs.patch_map,),
        backend="python",
        instances=1,
        kind="KIND_CPU",
        batch=_most_tiles(settings),
    )
    _batch_dynamically(config, settings)
    return config


def _image_model(
    name: str,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    settings: RepositorySettings,
) -> Any:
    instances = settings.image_instances
    return _model(name, inputs, outputs, instances=instances, kind="KIND_CPU", backend="python")


def _model(
    name: str,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    *,
    instances: int,
    kind: str,
    batch: int = 0,
    **fields: str,
) -> Any:
    protobuf = _protobuf()
    config = protobuf.ModelConfig(name=name, max_batch_size=batch, **fields)
    _declare(config, inputs, outputs)
    group = protobuf.ModelInstanceGroup
    config.instance_group.add(kind=group.Kind.Value(kind), count=instances)
    return config


def _declare(config: Any, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
    types = _protobuf().DataType
    for spec in inputs:
        added = config.input.add(
            name=spec.name,
            data_type=types.Value(spec.dtype),
            dims=spec.dims,
            optional=spec.optional,
        )
        if spec.flattened and config.max_batch_size:
            # Triton wants a dimension beside the batch, and the network has none.
            added.reshape.SetInParent()
    for spec in outputs:
        config.output.add(name=spec.name, data_type=types.Value(spec.dtype), dims=spec.dims)


def _batch_dynamically(config: Any, settings: RepositorySettings) -> None:
    config.dynamic_batching.max_queue_delay_microseconds = settings.max_queue_delay_us
    _bound_queue(config, settings)


def _bound_queue(config: Any, settings: RepositorySettings) -> None:
    """Refuse at once what would wait behind too many others, and let the line go first.

    For a model of single requests this is all that its dynamic batching does.
    """
    config.dynamic_batching.priority_levels = len(PRIORITIES)
    config.dynamic_batching.default_priority_level = PRIORITIES["line"]
    policy = config.dynamic_batching.default_queue_policy
    policy.max_queue_size = settings.max_queue_requests
    # A request's own deadline counts only where it is shorter than this, and not at all beside 0.
    # Where requests are merged, Triton before core#509 starves slowly with any but 0.
    longest_us = _LONGEST_WAIT_US if config.max_batch_size <= 1 else 0
    policy.default_timeout_microseconds = settings.queue_timeout_ms * 1000 or longest_us
    policy.allow_timeout_override = True


def _warm_up(config: Any, specs: tuple[TensorSpec, ...], tiles: int) -> None:
    """Run black tiles before the model is ready: the first image is no slower than the next."""
    sample = config.model_warmup.add(name=f"{tiles} tiles", batch_size=tiles)
    for spec in specs:
        tensor = sample.inputs[spec.name]
        tensor.data_type = _protobuf().DataType.Value(spec.dtype)
        tensor.dims.extend(spec.dims)
        tensor.zero_data = True


def _most_tiles(settings: RepositorySettings) -> int:
    return settings.max_batch_tiles or _MOST_TILES


def _ensemble(specs: TensorSpecs) -> Any:
    config = _protobuf().ModelConfig(name=ENSEMBLE, platform="ensemble", max_batch_size=0)
    _declare(config, specs.images, specs.answers)
    context = tuple(spec.name for spec in specs.context)
    steps = (
        (PREPROCESS, (IMAGE, ENCODED), (INPUT_NAME, SLOT_NAME, *context)),
        (ENGINE, (INPUT_NAME, SLOT_NAME), (OUTPUT_NAME,)),
        (POSTPROCESS, (OUTPUT_NAME, *context), tuple(spec.name for spec in specs.answers)),
    )
    for model, inputs, outputs in steps:
        step = config.ensemble_scheduling.step.add(model_name=model, model_version=-1)
        # A tensor has the same name in every model, so the maps are identities.
        step.input_map.update({name: name for name in inputs})
        step.output_map.update({name: name for name in outputs})
    return config


def _protobuf() -> Any:
    return require("tritonclient.grpc.model_config_pb2")
