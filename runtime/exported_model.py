"""The exported model: a folder with the fused ONNX, its manifest and the product's card."""

from dataclasses import dataclass
from pathlib import Path

from runtime.atomic_write import sha256_of_file
from runtime.errors import ModelError, OptionError
from runtime.json_files import check_schema, read_json, write_json
from runtime.product import CARD_NAME, ProductCard, TeacherCard

SCHEMA = "l2bt.export/3"
# One file a precision; a CPU runs the first, a TensorRT engine is built from the second.
ONNX_NAMES = {"fp32": "model.onnx", "fp16": "model.fp16.onnx"}
ONNX_NAME = ONNX_NAMES["fp32"]
MANIFEST_NAME = "manifest.json"

# (N, S, S, 3) uint8, channels last: cameras, decoders and the tiler deliver bytes in this order, so
# no CPU has to transpose an image; inside the graph the transposition melts into the first layer.
INPUT_NAME = "tiles"
# (N,) int32, the slot of each tile's product in the bank of students.
PRODUCT_NAME = "product"
# (N, S/patch, S/patch) float32, the product of the two directions' distances.
OUTPUT_NAME = "patch_map"


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A product's place in the bank.

    Attributes:
        number: From 0 to the bank's capacity less one.
        students_sha256: SHA-256 of the students' weights there.
    """

    number: int
    students_sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What the ONNX files beside it are.

    Attributes:
        schema: Version of this file's layout.
        onnx_sha256: SHA-256 of the ONNX files by the precision of their arithmetic: "fp32" always,
            and "fp16", which computes matrix products in FP16 and all else in FP32.
        opset: ONNX operator set.
        image_size: Side S of the tiles in px.
        grid_side: Side of the patch map in patches.
        teacher: The frozen network inside.
        capacity: Slots of the bank of students.
        products: Which slot each product has.
    """

    schema: str = SCHEMA
    onnx_sha256: dict[str, str]
    opset: int
    image_size: int
    grid_side: int
    teacher: TeacherCard
    capacity: int
    products: dict[str, Slot]

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError(f"schema is {self.schema!r}; this version of l2bt reads {SCHEMA!r}")
        if "fp32" not in self.onnx_sha256 or set(self.onnx_sha256) - set(ONNX_NAMES):
            raise ValueError(
                f"onnx_sha256 names {', '.join(self.onnx_sha256) or 'nothing'}; expected fp32, and "
                "fp16 where it was exported"
            )
        numbers = [slot.number for slot in self.products.values()]
        if len(set(numbers)) < len(numbers) or not set(numbers) <= set(range(self.capacity)):
            raise ValueError(
                f"products take the slots {numbers}; expected different ones below the capacity, "
                f"{self.capacity}"
            )


@dataclass(frozen=True, kw_only=True)
class ExportedModel:
    """A checked exported model on disk.

    Attributes:
        folder: Where it stands.
        manifest: What the ONNX files are.
        product: The card of its product.
    """

    folder: Path
    manifest: Manifest
    product: ProductCard

    @property
    def onnx_path(self) -> Path:
        """The fused network in FP32."""
        return self.folder / ONNX_NAME

    def path_of(self, precision: str) -> Path:
        """The fused network in a precision.

        Raises:
            OptionError: The model was not exported in it.
        """
        if precision not in self.manifest.onnx_sha256:
            raise OptionError(
                f"{self.folder} holds no network in {precision!r}, only in "
                f"{', '.join(self.manifest.onnx_sha256)}; export the product again with l2bt export"
            )
        return self.folder / ONNX_NAMES[precision]

    @property
    def slot(self) -> int:
        """The product's slot in the bank."""
        return self.manifest.products[self.product.product].number

    def write_cards(self) -> None:
        """Write the manifest and the product's card beside the ONNX file."""
        write_json(self.folder / MANIFEST_NAME, self.manifest)
        self.product.write(self.folder / CARD_NAME)

    @classmethod
    def open(cls, folder: Path) -> "ExportedModel":
        """Read the manifest and the card, and check that all parts belong together.

        Raises:
            ModelError: A file is missing, was changed, or does not belong to the others.
        """
        check_schema(folder / MANIFEST_NAME, SCHEMA, advice="export the product again")
        manifest = read_json(folder / MANIFEST_NAME, Manifest)
        product = ProductCard.read(folder / CARD_NAME)
        for precision, expected in manifest.onnx_sha256.items():
            _check_file(folder / ONNX_NAMES[precision], expected)
        slot = manifest.products.get(product.product)
        if slot is None or slot.students_sha256 != product.students_sha256:
            raise ModelError(
                f"{folder / CARD_NAME} is the card of {product.product!r} with students "
                f"{product.students_sha256[:12]}..., but the network holds "
                f"{', '.join(manifest.products)} with others; put the card back that was exported "
                "with it"
            )
        if (product.geometry.image_size, product.teacher) != (
            manifest.image_size,
            manifest.teacher,
        ):
            raise ModelError(
                f"{folder / CARD_NAME} and {MANIFEST_NAME} name different image sizes or teachers; "
                "put the card back that was exported with it"
            )
        return cls(folder=folder, manifest=manifest, product=product)


def _check_file(path: Path, expected: str) -> None:
    if not path.is_file():
        raise ModelError(f"{path} is missing; export the product again with l2bt export")
    found = sha256_of_file(path)
    if found != expected:
        raise ModelError(
            f"{path} has SHA-256 {found[:12]}..., its manifest says {expected[:12]}...: it was cut "
            "or swapped; export it again"
        )
