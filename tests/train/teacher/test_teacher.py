"""The teacher: timm's own tokens, its position embedding, and where its weights come from."""

import math
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as functional
from safetensors.torch import save_file

from runtime.errors import ModelError, OptionError
from tests.parts.small import SMALL_IMAGE_SIZE, make_card
from train.settings import DEMO_TEACHER, TeacherSettings
from train.teacher.teacher import Teacher, load_teacher, resample_like_dinov2

REGISTERS = "vit_small_patch14_reg4_dinov2"
PLAIN = "vit_small_patch14_dinov2"


@pytest.fixture(scope="module")
def register_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of a model with registers, in timm's names."""
    torch.manual_seed(0)
    model = timm.create_model(REGISTERS, pretrained=False, num_classes=0)
    # At their first values LayerScale all but switches the blocks off.
    state = {k: v + 0.1 if "gamma" in k else v for k, v in model.state_dict().items()}
    path = tmp_path_factory.mktemp("weights") / "timm.safetensors"
    save_file(state, path)
    return path


def official_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same weights as Meta's files name them."""
    official = {k: v for k, v in state.items() if k not in ("reg_token", "pos_embed")}
    official["register_tokens"] = state["reg_token"]
    # Meta keeps a position for the class token, and adds it there.
    of_class = torch.randn(1, 1, state["pos_embed"].shape[2])
    official["cls_token"] = state["cls_token"] - of_class
    official["pos_embed"] = torch.cat([of_class, state["pos_embed"]], dim=1)
    official["mask_token"] = torch.zeros(1, state["pos_embed"].shape[2])
    return official


def teacher_of(
    weights: Path,
    image_size: int = SMALL_IMAGE_SIZE,
    image_wh: tuple[int, int] | None = None,
    **options: object,
) -> Teacher:
    settings = TeacherSettings(teacher=REGISTERS, teacher_weights=weights, **options)  # type: ignore[arg-type]
    return load_teacher(settings, image_size=image_size, image_wh=image_wh)


def random_tiles(tile_wh: tuple[int, int] = (SMALL_IMAGE_SIZE, SMALL_IMAGE_SIZE)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    width, height = tile_wh
    return torch.randint(0, 256, (2, height, width, 3), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("image_size", "image_wh"),
    [(SMALL_IMAGE_SIZE, None), (518, None), (560, None), (224, (1500, 1000)), (518, (600, 1000))],
)
@torch.inference_mode()
def test_tokens_equal_timms_own_where_timm_resamples_in_the_same_way(
    register_weights: Path, image_size: int, image_wh: tuple[int, int] | None
) -> None:
    ours = teacher_of(register_weights, image_size, image_wh, layers=(8, 12))
    theirs: Any = timm.create_model(
        REGISTERS, num_classes=0, dynamic_img_size=True, checkpoint_path=str(register_weights)
    ).eval()
    tiles = random_tiles(ours.tile_wh)[:1]
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    pixels = (tiles.permute(0, 3, 1, 2) / 255 - mean) / std
    expected = theirs.forward_intermediates(
        pixels, indices=[7, 11], norm=True, output_fmt="NLC", intermediates_only=True
    )
    for found, wanted in zip(ours(tiles), list(expected), strict=True):
        assert found.shape == (1, math.prod(ours.grid_wh), 384)
        assert (found - wanted).abs().max() < 1e-5 * wanted.abs().max()


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("vit_tiny_patch16_224", 196),
        ("eva02_tiny_patch14_224", 256),
        ("vit_small_patch16_dinov3", 196),
    ],
)
@torch.inference_mode()
def test_other_families_of_vision_transformers_can_be_teachers(
    name: str, tokens: int, tmp_path: Path
) -> None:
    path = tmp_path / "weights.safetensors"
    model = timm.create_model(name, pretrained=False, num_classes=0)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
    settings = TeacherSettings(teacher=name, teacher_weights=path)
    shallow, deep = load_teacher(settings, image_size=224)(random_tiles())
    assert shallow.shape == deep.shape == (2, tokens, model.embed_dim)


def test_the_trunk_ends_behind_the_last_block_that_is_needed(register_weights: Path) -> None:
    assert len(teacher_of(register_weights, layers=(2, 5)).trunk.blocks) == 5


def test_the_teacher_stays_frozen_and_in_evaluation_mode(register_weights: Path) -> None:
    teacher = teacher_of(register_weights)
    teacher.train()
    assert not teacher.trunk.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_the_default_pair_is_two_thirds_of_the_depth_and_the_last_block(
    register_weights: Path,
) -> None:
    assert teacher_of(register_weights).card.layers == (8, 12)


@torch.inference_mode()
def test_official_key_names_give_the_same_teacher(register_weights: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    path = tmp_path / "dinov2_vits14_reg4_pretrain.pth"
    torch.save(official_names(load_file(register_weights)), path)
    tiles = random_tiles()
    for ours, theirs in zip(
        teacher_of(path)(tiles), teacher_of(register_weights)(tiles), strict=True
    ):
        assert (ours - theirs).abs().max() < 1e-4


def test_plain_dinov2_resamples_its_positions_without_antialiasing_and_with_metas_offset() -> None:
    position = torch.randn(1, 1 + 37 * 37, 8)
    resampled = resample_like_dinov2(position, 37, (16, 24))
    table = position[:, 1:].reshape(1, 37, 37, 8).permute(0, 3, 1, 2)
    expected = functional.interpolate(
        table, scale_factor=(16.1 / 37, 24.1 / 37), mode="bicubic", antialias=False
    )
    assert torch.equal(resampled[:, :1], position[:, :1])
    assert torch.allclose(resampled[:, 1:], expected.permute(0, 2, 3, 1).reshape(1, 16 * 24, 8))


@torch.inference_mode()
def test_the_demo_teacher_computes_what_its_packages_own_onnx_computes() -> None:
    import numpy as np
    import onnxruntime
    from onnx import TensorProto, helper, load

    from train.teacher.weights import _demo_file

    # The whole encoder at 518 px, where no position has to be resampled: elsewhere the package does
    # that otherwise than Meta.
    settings = TeacherSettings(teacher=DEMO_TEACHER, layers=(4, 12))
    teacher = load_teacher(settings, image_size=518)
    model = load(str(_demo_file()))
    for dimension, name in zip(
        model.graph.input[0].type.tensor_type.shape.dim[2:], ("height", "width"), strict=True
    ):
        dimension.dim_param = name
    tap = "/backbone/layernorm/Add_1_output_0"
    model.graph.output.append(helper.make_tensor_value_info(tap, TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    tiles = random_tiles((518, 518))[:1]
    mean, std = teacher.get_buffer("mean"), teacher.get_buffer("std")
    pixels = ((tiles.permute(0, 3, 1, 2).float() - mean) / std).numpy()
    (expected,) = session.run([tap], {session.get_inputs()[0].name: pixels})
    assert np.abs(teacher(tiles)[1].numpy() - expected[:, 1:]).max() < 1e-3


def test_the_demo_teacher_takes_blocks_4_and_8() -> None:
    assert load_teacher(TeacherSettings(teacher=DEMO_TEACHER), image_size=224).card.layers == (4, 8)


def test_a_pth_that_holds_more_than_tensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    torch.save({"cls_token": Path("would be unpickled")}, path)
    with pytest.raises(ModelError, match=r"evil\.pth cannot be read"):
        teacher_of(path)


def test_weights_of_another_model_are_refused_with_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"something": torch.zeros(1)}, path)
    with pytest.raises(ModelError, match="tensors are missing"):
        teacher_of(path)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="gone.pth are missing"):
        teacher_of(tmp_path / "gone.pth")


@pytest.mark.parametrize("layers", [(8, 4), (0, 4), (4, 13), (4, 4)])
def test_layers_that_do_not_exist_are_refused(
    register_weights: Path, layers: tuple[int, int]
) -> None:
    with pytest.raises(OptionError, match="blocks 1 to 12"):
        teacher_of(register_weights, layers=layers)


def test_a_size_off_the_patch_grid_is_refused_with_the_nearest_two(register_weights: Path) -> None:
    with pytest.raises(OptionError, match="the nearest are 294 and 308"):
        teacher_of(register_weights, 300)


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(OptionError, match="timm has no model 'vit_of_dreams'"):
        load_teacher(TeacherSettings(teacher="vit_of_dreams"), image_size=224)


def test_a_convolutional_network_cannot_be_a_teacher(tmp_path: Path) -> None:
    path = tmp_path / "any.pth"
    torch.save({}, path)
    with pytest.raises(OptionError, match="cannot be a teacher"):
        load_teacher(TeacherSettings(teacher="resnet18", teacher_weights=path), image_size=224)


def test_a_gpu_that_is_not_there_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has an NVIDIA GPU")
    with pytest.raises(OptionError, match="no NVIDIA GPU"):
        load_teacher(TeacherSettings(teacher=DEMO_TEACHER, device="cuda"), image_size=224)


def test_weights_other_than_the_products_are_refused(register_weights: Path) -> None:
    settings = TeacherSettings(teacher=REGISTERS, teacher_weights=register_weights)
    with pytest.raises(ModelError, match="the product was trained with 000000000000"):
        load_teacher(settings, image_size=224, expected=make_card().teacher)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@torch.inference_mode()
def test_a_lower_precision_is_near_fp32_and_gives_fp32_tokens(
    register_weights: Path, precision: str
) -> None:
    tiles = random_tiles()
    exact, _ = teacher_of(register_weights)(tiles)
    near, _ = teacher_of(register_weights, teacher_precision=precision)(tiles)
    assert near.dtype == torch.float32
    assert 0 < (near - exact).abs().mean() < 0.05 * exact.abs().mean()


def test_the_demo_teacher_and_a_weights_file_exclude_each_other() -> None:
    with pytest.raises(OptionError, match="exclude each other"):
        TeacherSettings(teacher=DEMO_TEACHER, teacher_weights=Path("x.pth"))
