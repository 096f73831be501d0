"""Figures that others published, to be held against ours where they apply."""

from dataclasses import dataclass

_VISA = frozenset(
    (
        *("candle", "capsules", "cashew", "chewinggum", "fryum", "macaroni1", "macaroni2"),
        *("pcb1", "pcb2", "pcb3", "pcb4", "pipe_fryum"),
    )
)
_MVTEC = frozenset(
    (
        *("bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut"),
        *("pill", "screw", "tile", "toothbrush", "transistor", "wood", "zipper"),
    )
)


@dataclass(frozen=True, kw_only=True)
class Published:
    """The mean over a data set's classes, as somebody published it.

    Attributes:
        title: Whose it is, and at which size.
        source: Where it was read.
        columns: The numbers by the names of our columns.
    """

    title: str
    source: str
    columns: dict[str, float]


_BY_CLASSES = {
    _VISA: (
        Published(
            title="L2BT paper, 1036 px, mean of VisA's 12",
            source="quoted by a third-party port",
            columns={"I-AUROC": 0.964},
        ),
        Published(
            title="third-party port, 224 px, mean of VisA's 12",
            source="its README",
            columns={"I-AUROC": 0.911, "P-AUROC": 0.977, "P-F1": 0.386},
        ),
    ),
    _MVTEC: (
        Published(
            title="L2BT paper, 1036 px, mean of MVTec AD's 15",
            source="quoted by a third-party port",
            columns={"I-AUROC": 0.988},
        ),
        Published(
            title="third-party port, 224 px, mean of MVTec AD's 15",
            source="its README",
            columns={"I-AUROC": 0.977, "P-AUROC": 0.973, "P-F1": 0.562},
        ),
    ),
}


def published_for(products: set[str], layout: str) -> tuple[Published, ...]:
    """What was published about the data set that these products are classes of.

    Args:
        products: Names of the products.
        layout: The data set's layout; one's own images may have the same names.
    """
    if layout not in ("visa", "visa-prepared", "mvtec"):
        return ()
    for classes, published in _BY_CLASSES.items():
        if products <= classes:
            return published
    return ()
