"""Runs of operators for which PyTorch has one kernel: attention, GELU, and a product with its bias.

The fused kernels round once where the file rounds after each step; logits of attention stay in FP32
there, so they cannot overflow FP16. Whatever does not look exactly like these is left as it is.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any, NamedTuple

from torch import Tensor
from torch.nn import functional

from export.torch_engine.operators import OPERATORS, Operator


class Node(NamedTuple):
    """One operator of a graph, with one output."""

    kind: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, Any]


def fuse(nodes: Sequence[Node], constants: Mapping[str, Tensor]) -> list[Node]:
    """Replace what can be fused.

    Args:
        nodes: In the order in which they run.
        constants: The graph's, by name.

    Returns:
        The nodes in order; a fused one stands where its last was.
    """
    made_by = {node.output: node for node in nodes}
    uses = Counter(name for node in nodes for name in node.inputs)
    replaced: dict[str, Node] = {}
    gone: set[str] = set()
    for node in nodes:
        match = _Match(made_by, uses, constants)
        fused = match.attention(node) or match.gelu(node) or match.linear(node)
        if fused is not None:
            replaced[node.output] = fused
            gone |= match.inner
    return [replaced.get(node.output, node) for node in nodes if node.output not in gone]


class _Match:
    """Looks backwards from one node; `inner` are the values that nobody sees once it is fused."""

    def __init__(
        self,
        made_by: Mapping[str, Node],
        uses: Mapping[str, int],
        constants: Mapping[str, Tensor],
    ) -> None:
        self._made_by, self._uses, self._constants = made_by, uses, constants
        self.inner: set[str] = set()

    def attention(self, node: Node) -> Node | None:
        """softmax(q k^T) v, whose scale is already in q or k."""
        if node.kind != "MatMul":
            return None
        softmax = self._before(self._uncast(node.inputs[0]), "Softmax")
        if softmax is None or softmax.attributes["axis"] not in (-1, 3):
            return None
        product = self._before(self._uncast(softmax.inputs[0]), "MatMul")
        if product is None:
            return None
        return Node("Attention", (*product.inputs, node.inputs[1]), node.output, {})

    def gelu(self, node: Node) -> Node | None:
        """The product x * (0.5 * (1 + erf(x / sqrt(2)))), as PyTorch's exporter writes it."""
        if node.kind != "Mul":
            return None
        value, gate = node.inputs
        half = self._before(gate, "Mul")
        shifted = half and self._before(self._beside(half, 0.5), "Add")
        erf = shifted and self._before(self._beside(shifted, 1.0), "Erf")
        scaled = erf and self._before(erf.inputs[0], "Div")
        if not scaled or scaled.inputs[0] != value or not self._is(scaled.inputs[1], sqrt(2)):
            return None
        return Node("Gelu", (value,), node.output, {})

    def linear(self, node: Node) -> Node | None:
        """A product with a weight, and a bias."""
        if node.kind != "Add":
            return None
        bias = self._constants.get(node.inputs[1])
        product = self._before(node.inputs[0], "MatMul")
        weight = self._constants.get(product.inputs[1]) if product else None
        if product is None or weight is None or bias is None:
            return None
        if weight.dim() != 2 or bias.shape != weight.shape[1:]:
            return None
        return Node("Linear", (*product.inputs, node.inputs[1]), node.output, {})

    def _before(self, name: str | None, kind: str) -> Node | None:
        """What makes a value, if it is of this kind and nobody else takes the value."""
        node = self._made_by.get(name) if name is not None else None
        if node is None or node.kind != kind or self._uses[node.output] != 1:
            return None
        self.inner.add(node.output)
        return node

    def _uncast(self, name: str) -> str:
        cast = self._before(name, "Cast")
        return cast.inputs[0] if cast is not None else name

    def _beside(self, node: Node, number: float) -> str | None:
        """The input of a sum or product whose other input is a number."""
        first, second = node.inputs
        if self._is(first, number):
            return second
        return first if self._is(second, number) else None

    def _is(self, name: str, number: float) -> bool:
        constant = self._constants.get(name)
        # Within what FP16 can tell apart.
        return (
            constant is not None
            and constant.numel() == 1
            and abs(float(constant) - number) <= 1e-3 * number
        )


def _attention(inputs: list[Any], _: dict[str, Any]) -> Tensor:
    query, turned_key, value = inputs
    # One kind of kernel for whatever the graph's transpositions left.
    return functional.scaled_dot_product_attention(
        query.contiguous(), turned_key.transpose(-1, -2).contiguous(), value.contiguous(), scale=1.0
    )


def _gelu(inputs: list[Any], _: dict[str, Any]) -> Tensor:
    return functional.gelu(inputs[0])


def _linear(inputs: list[Any], _: dict[str, Any]) -> Tensor:
    data, weight, bias = inputs
    return functional.linear(data, weight.T, bias)


FUSED: dict[str, Operator] = {
    **OPERATORS,
    "Attention": _attention,
    "Gelu": _gelu,
    "Linear": _linear,
}
"""All operators, those that only `fuse` makes among them."""
