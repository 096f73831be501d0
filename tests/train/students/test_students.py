"""The students' loss and map, held against the formulas written out."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from train.students.students import Students


def tokens(seed: int, count: int = 5, dimension: int = 16) -> torch.Tensor:
    return torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 10_000))
def test_the_map_is_the_product_of_both_directions_distances(seed: int) -> None:
    torch.manual_seed(seed)
    students = Students(16)
    shallow, deep = tokens(seed), tokens(seed + 1)
    with torch.no_grad():
        found = students(shallow, deep)
        for patch in range(5):
            distances = []
            for prediction, target in (
                (students.forward_student(shallow[patch]), deep[patch]),
                (students.backward_student(deep[patch]), shallow[patch]),
            ):
                difference = prediction / prediction.norm() - target / target.norm()
                distances.append(difference.square().sum().sqrt())
            assert torch.isclose(found[patch], distances[0] * distances[1], rtol=1e-5)


@given(st.integers(0, 10_000))
def test_the_loss_is_the_mean_of_both_directions_cosine_distances(seed: int) -> None:
    torch.manual_seed(seed)
    students = Students(16)
    shallow, deep = tokens(seed), tokens(seed + 1)
    with torch.no_grad():
        total = 0.0
        for patch in range(5):
            for prediction, target in (
                (students.forward_student(shallow[patch]), deep[patch]),
                (students.backward_student(deep[patch]), shallow[patch]),
            ):
                total += 1 - float(prediction @ target / (prediction.norm() * target.norm()))
        assert abs(float(students.loss(shallow, deep)) - total / 5) < 1e-5


def test_each_student_has_three_square_layers() -> None:
    parameters = sum(value.numel() for value in Students(768).forward_student.parameters())
    assert parameters == 3 * (768 * 768 + 768)
