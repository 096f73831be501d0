"""Bundles of further products on the test product's teacher, for tests of many products."""

from dataclasses import replace
from pathlib import Path

import torch

from train.students.bundle import ProductBundle, write_bundle
from train.students.students import Students


def variant(bundle: ProductBundle, folder: Path, *, product: str, seed: int) -> ProductBundle:
    """A bundle whose students are those of `bundle`, changed a little: its maps are its own."""
    torch.manual_seed(seed)
    students = Students(
        bundle.card.teacher.dimension, judged=bundle.students.forward_judge is not None
    )
    state = bundle.students.state_dict()
    students.load_state_dict(
        {name: value + 0.01 * torch.randn_like(value) for name, value in state.items()}
    )
    card = replace(bundle.card, product=product)
    return write_bundle(folder, card, students)
