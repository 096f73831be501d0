"""The students' weights of one product, as `students.safetensors` in its bundle."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load

from runtime.engines.bank_weights import Tensors
from runtime.errors import ModelError
from runtime.storage.atomic_write import sha256_of_file

STUDENTS_NAME = "students.safetensors"

EXPECTATION_WIDTH = 16
"""Hidden width of the judge's small network that tells what residual is to be expected where."""


def expected_shape(name: str, width: int) -> tuple[int, ...]:
    """The shape of one tensor of a product: of its two students, or of their judges if it has any.

    Args:
        name: As in the file, such as "forward_student.input.weight".
        width: Of the teacher's tokens, D.
    """
    if name.endswith(".exponent"):
        return (1,)
    out, into = width, width
    if ".expectation_input." in name:
        out = EXPECTATION_WIDTH
    elif ".expectation_output." in name:
        out, into = 1, EXPECTATION_WIDTH
    return (out, into) if name.endswith(".weight") else (out,)


def check_students(path: Path, *, sha256: str) -> None:
    """Check that a file of students is the one that its card names.

    Args:
        path: The file.
        sha256: What the card says.

    Raises:
        ModelError: It is missing, cut or swapped.
    """
    if not path.is_file():
        raise ModelError(f"{path} is missing; {path.parent} is no whole product bundle")
    found = sha256_of_file(path)
    if found != sha256:
        raise ModelError(
            f"{path} has SHA-256 {found[:12]}..., its card says {sha256[:12]}...: it was cut or "
            "swapped; train the product again"
        )


def read_students(path: Path, *, sha256: str) -> Tensors:
    """Read students without PyTorch.

    Args:
        path: The file.
        sha256: What the card says.

    Returns:
        Weights and biases, float32, by name; see `expected_shape`.

    Raises:
        ModelError: The file is missing, cut or swapped, or holds something else.
    """
    check_students(path, sha256=sha256)
    try:
        tensors: Tensors = load(path.read_bytes())
    except (SafetensorError, KeyError, ValueError) as error:
        # KeyError for a type, ValueError for a shape that NumPy does not have.
        raise ModelError(f"{path} holds no tensors that can be used: {error}") from error
    return tensors
