"""The judge of the students' residuals, held against its formulas written out."""

import re

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.fitting.learn_judge import SHRINKAGE, learn_judge
from train.students.bank import StudentBank
from train.students.judge import DirectionJudge, residual
from train.students.students import Students

WIDTH = 12


def students(seed: int, *, judged: bool = False) -> Students:
    torch.manual_seed(seed)
    pair = Students(WIDTH, judged=judged).eval()
    if judged:
        with torch.no_grad():
            for judge in (pair.forward_judge, pair.backward_judge):
                assert judge is not None
                for value in judge.parameters():
                    value.add_(0.1 * torch.randn_like(value))
    return pair


def tokens(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, WIDTH, generator=torch.Generator().manual_seed(seed))


def good_tokens(tiles: int, patches: int = 40) -> npt.NDArray[np.float16]:
    """Tokens of which the deep ones follow from the shallow ones but for some noise."""
    shallow = tokens(1, tiles, patches)
    turn = torch.linalg.qr(tokens(2, WIDTH))[0]
    spread = torch.linspace(0.02, 0.3, WIDTH)
    deep = shallow @ turn + spread * tokens(3, tiles, patches)
    return torch.stack([shallow, deep], dim=2).numpy().astype(np.float16)


@given(st.integers(0, 10_000))
@settings(max_examples=20)
@torch.no_grad()
def test_a_judge_as_it_is_made_gives_the_papers_map(seed: int) -> None:
    plain = students(seed)
    judged = students(seed)
    judged.forward_judge, judged.backward_judge = DirectionJudge(WIDTH), DirectionJudge(WIDTH)
    shallow, deep = tokens(seed, 5), tokens(seed + 1, 5)
    assert torch.allclose(judged(shallow, deep), plain(shallow, deep), rtol=1e-6, atol=0)


@torch.no_grad()
def test_a_direction_is_the_whitened_residual_over_what_is_expected_to_a_power() -> None:
    judge = students(4, judged=True).forward_judge
    assert judge is not None
    prediction, target, source = (tokens(seed, 3) for seed in range(3))
    found = judge(prediction, target, source)
    for patch in range(3):
        towards, away = prediction[patch], target[patch]
        difference = towards / towards.norm() - away / away.norm()
        whitened = judge.whitening.weight @ difference + judge.whitening.bias
        look = source[patch] / source[patch].norm() * WIDTH**0.5
        hidden = torch.nn.functional.gelu(
            judge.expectation_input.weight @ look + judge.expectation_input.bias
        )
        expected = judge.expectation_output.weight @ hidden + judge.expectation_output.bias
        one = (whitened.norm() / expected.exp()) ** judge.exponent
        assert torch.isclose(found[patch], one[0], rtol=1e-5)


@torch.no_grad()
def test_a_bank_judges_each_tile_by_its_own_product() -> None:
    pairs = [students(0, judged=True), students(1), students(2, judged=True)]
    shallow, deep = tokens(5, 4, 6), tokens(6, 4, 6)
    slots = torch.tensor([2, 0, 1, 2], dtype=torch.int32)
    found = StudentBank.of(pairs, capacity=4)(shallow, deep, slots)
    for tile, slot in enumerate(slots):
        assert torch.allclose(found[tile], pairs[slot](shallow[tile], deep[tile]), rtol=1e-4)


def test_good_residuals_have_the_same_spread_in_all_directions_once_whitened() -> None:
    pair, given_ = students(0), good_tokens(60)
    assert learn_judge(pair, given_, seed=0).learned
    both = torch.from_numpy(given_.reshape(-1, 2, WIDTH).astype(np.float32))
    assert pair.forward_judge is not None
    with torch.no_grad():
        found = residual(pair.forward_student(both[:, 0]), both[:, 1])
        whitened = pair.forward_judge.whitening(found)
    assert whitened.mean(dim=0).abs().max() < 1e-3
    variances = whitened.var(dim=0) * WIDTH
    # Exactly 1 without the shrinkage, which damps directions of little variance.
    assert (variances < 1 / (1 - SHRINKAGE) + 1e-2).all()
    assert variances.max() > 0.9
    distance = whitened.norm(dim=-1)
    assert 0.5 < float(distance.mean()) < 1.5


def test_a_judge_is_the_same_for_the_same_seed() -> None:
    found = []
    for _ in range(2):
        pair = students(0)
        learn_judge(pair, good_tokens(10), seed=7)
        found.append(pair.state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        (good_tokens(1), "40 patches are too few .* which needs 48"),
        (np.ones((10, 40, 2, WIDTH), np.float16), "all good patches look the same"),
    ],
)
def test_students_are_judged_as_in_the_paper_where_nothing_can_be_learned(
    given_: npt.NDArray[np.float16], words: str
) -> None:
    pair = students(0)
    report = learn_judge(pair, given_, seed=0)
    assert not report.learned
    assert pair.forward_judge is None and pair.backward_judge is None

    assert re.search(words, report.words)


def test_only_the_hardest_patches_count() -> None:
    pair = students(0)
    shallow, deep = tokens(1, 20), tokens(2, 20)
    with torch.no_grad():
        ahead = 1 - torch.nn.functional.cosine_similarity(pair.forward_student(shallow), deep)
        back = 1 - torch.nn.functional.cosine_similarity(pair.backward_student(deep), shallow)
        expected = ahead.sort().values[-2:].mean() + back.sort().values[-2:].mean()
        assert torch.isclose(pair.loss(shallow, deep, hardest=0.1), expected)
