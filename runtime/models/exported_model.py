"""The exported model: a folder with the fused ONNX, its manifest and a store of products."""

from dataclasses import dataclass
from pathlib import Path

from runtime.engines.network import ONNX_NAME, ONNX_NAMES
from runtime.errors import ModelError, OptionError
from runtime.products.card import ProductCard, TeacherCard, check_product_name
from runtime.products.store.folder_kinds import require_kind
from runtime.products.store.product_store import STORE, ProductStore, WrittenProducts
from runtime.storage.atomic_write import sha256_of_file
from runtime.storage.json_files import check_schema, read_json, require_schema

SCHEMA = "l2bt.export/5"
# A version takes over from another while both are in the bank, so one product needs two slots.
DEFAULT_CAPACITY = 4
MANIFEST_NAME = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What the ONNX files beside it are.

    Attributes:
        schema: Version of this file's layout.
        name: What the network is called, after the product that it was exported with.
        onnx_sha256: SHA-256 of the ONNX files by the precision of their arithmetic: "fp32" always,
            and "fp16", which computes matrix products in FP16 and all else in FP32.
        opset: ONNX operator set.
        tile_wh: Width and height of the tiles in px.
        grid_wh: Width and height of the patch map in patches.
        teacher: The frozen network inside.
        capacity: Slots of the bank of students.
        written: SHA-256 of the students that the ONNX files themselves hold, by slot. An engine
            takes all others from the store when it is loaded.
    """

    schema: str = SCHEMA
    name: str
    onnx_sha256: dict[str, str]
    opset: int
    tile_wh: tuple[int, int]
    grid_wh: tuple[int, int]
    teacher: TeacherCard
    capacity: int
    written: dict[int, str]

    def __post_init__(self) -> None:
        require_schema(self.schema, SCHEMA)
        # Engines stand in a folder of that name.
        check_product_name(self.name)
        if "fp32" not in self.onnx_sha256 or set(self.onnx_sha256) - set(ONNX_NAMES):
            raise ValueError(
                f"onnx_sha256 names {', '.join(self.onnx_sha256) or 'nothing'}; expected fp32, and "
                "fp16 where it was exported"
            )


@dataclass(frozen=True, kw_only=True)
class ExportedModel:
    """A checked exported model on disk.

    Attributes:
        folder: Where it stands.
        manifest: What the ONNX files are.
        store: Its products.
    """

    folder: Path
    manifest: Manifest
    store: ProductStore

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
    def product(self) -> ProductCard:
        """The card of its only active product.

        Raises:
            UnknownProductError: There is none, or several.
        """
        return self.store.serving().card

    def written_products(self) -> WrittenProducts:
        """Its products, for an engine that takes no students but those in the ONNX files."""
        return WrittenProducts(
            self.store, self.manifest.written, advice="export its bundle with l2bt export"
        )

    @classmethod
    def open(cls, folder: Path) -> "ExportedModel":
        """Read the manifest and the products, and check that all parts belong together.

        Raises:
            ModelError: A file is missing, was changed, or does not belong to the others.
        """
        require_kind(folder, "export")
        check_schema(folder / MANIFEST_NAME, SCHEMA, advice="export the product again")
        manifest = read_json(folder / MANIFEST_NAME, Manifest)
        for precision, expected in manifest.onnx_sha256.items():
            _check_file(folder / ONNX_NAMES[precision], expected)
        store = ProductStore(folder / STORE)
        table = store.table()
        if (table.teacher, table.tile_wh, table.capacity) != (
            manifest.teacher,
            manifest.tile_wh,
            manifest.capacity,
        ):
            raise ModelError(
                f"{store.folder} and {MANIFEST_NAME} name different teachers, tiles or numbers "
                "of slots; put the products back that were exported with it"
            )
        store.check()
        return cls(folder=folder, manifest=manifest, store=store)


def _check_file(path: Path, expected: str) -> None:
    if not path.is_file():
        raise ModelError(f"{path} is missing; export the product again with l2bt export")
    found = sha256_of_file(path)
    if found != expected:
        raise ModelError(
            f"{path} has SHA-256 {found[:12]}..., its manifest says {expected[:12]}...: it was cut "
            "or swapped; export it again"
        )
