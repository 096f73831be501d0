"""Copies of an exported model with other products in its bank, to measure many, or other geometry.

The products are stand-ins: the model's own students with each weight moved by a few per cent. They
cost what real ones cost and score differently, so that an answer by the wrong one is noticed.
"""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from runtime.engines.network import ONNX_NAME
from runtime.geometry.geometry import GeometrySettings
from runtime.models.exported_model import MANIFEST_NAME, ExportedModel
from runtime.products.card import CARD_NAME, ProductCard
from runtime.products.store.changes import activate, add_version, create_store
from runtime.products.store.product_store import STORE
from runtime.products.students_file import STUDENTS_NAME
from runtime.storage.atomic_write import sha256_of_file
from runtime.storage.json_files import write_json

_SPREAD = 0.03


def copy_with_products(
    model: ExportedModel, card: ProductCard, folder: Path, wished: Mapping[str, GeometrySettings]
) -> ExportedModel:
    """Write a copy of a model that serves stand-ins of one of its products.

    Args:
        model: The exported model; it stays as it is.
        card: The active product that they are made of.
        folder: Where the copy goes; it must not be there.
        wished: The stand-ins' names, and how each looks at its images.

    Raises:
        OptionError: They are more than the bank has slots.
    """
    folder.mkdir(parents=True)
    shutil.copyfile(model.onnx_path, folder / ONNX_NAME)
    digests = {"fp32": model.manifest.onnx_sha256["fp32"]}
    write_json(folder / MANIFEST_NAME, replace(model.manifest, onnx_sha256=digests))
    store = create_store(
        folder / STORE,
        teacher=model.manifest.teacher,
        tile_wh=model.manifest.tile_wh,
        capacity=model.manifest.capacity,
    )
    version = model.store.table().serving(card.product).version
    students = model.store.students(card.product, version)
    for number, (name, geometry) in enumerate(wished.items()):
        bundle = folder / "bundles" / name
        bundle.mkdir(parents=True)
        random = np.random.default_rng(number)
        moved = {
            layer: weights * (1 + _SPREAD * random.standard_normal(weights.shape, np.float32))
            for layer, weights in students.items()
        }
        save_file(moved, bundle / STUDENTS_NAME)
        own = replace(
            card,
            product=name,
            geometry=geometry,
            students_sha256=sha256_of_file(bundle / STUDENTS_NAME),
            trained_scale=geometry.scale,
            # An area is drawn on images of one size, and the benchmark's have several.
            area=None,
        )
        write_json(bundle / CARD_NAME, own)
        activate(store, *add_version(store, bundle))
    shutil.rmtree(folder / "bundles")
    return ExportedModel.open(folder)
