import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from eval3dpw.judging.alignment import similarity_aligned, similarity_alignment


def points(seed: int, n: int = 5, k: int = 14) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, k, 3))


def test_recovers_a_known_similarity():
    source = torch.as_tensor(points(0))
    rotation = torch.as_tensor(Rotation.random(5, random_state=1).as_matrix())
    scale, translation = torch.linspace(0.5, 2, 5).double(), torch.as_tensor(points(2)[:, 0])
    target = scale[:, None, None] * source @ rotation.mT + translation[:, None]
    found = similarity_alignment(source, target)
    torch.testing.assert_close(found.rotation, rotation)
    torch.testing.assert_close(found.scale, scale)
    torch.testing.assert_close(found.translation, translation)


def test_rotation_is_scipys():
    """scipy.spatial.transform.Rotation.align_vectors on centred points, scale by hand."""
    source, target = points(3), points(4)
    found = similarity_alignment(torch.as_tensor(source), torch.as_tensor(target))
    for number in range(len(source)):
        a, b = source[number] - source[number].mean(0), target[number] - target[number].mean(0)
        rotation, _ = Rotation.align_vectors(b, a)
        np.testing.assert_allclose(found.rotation[number], rotation.as_matrix(), atol=1e-9)
        scale = (b * rotation.apply(a)).sum() / (a**2).sum()
        assert found.scale[number].item() == pytest.approx(scale, abs=1e-9)


def test_a_mirrored_body_is_not_brought_over_its_mirror_image():
    source = torch.as_tensor(points(5))
    mirrored = source * torch.tensor([-1.0, 1.0, 1.0])
    found = similarity_alignment(source, mirrored)
    torch.testing.assert_close(torch.linalg.det(found.rotation), torch.ones(5).double())
    assert (found(source) - mirrored).norm(dim=-1).mean() > 0.3


def test_flat_points_still_get_a_proper_rotation():
    source = torch.as_tensor(points(6)) * torch.tensor([1.0, 1.0, 0.0])
    found = similarity_alignment(source, source + 1.0)
    torch.testing.assert_close(found(source), source + 1.0)
    torch.testing.assert_close(torch.linalg.det(found.rotation), torch.ones(5).double())


def test_coinciding_points_go_to_the_centroid():
    target = torch.as_tensor(points(7))
    aligned = similarity_aligned(torch.full_like(target, 3.0), target)
    torch.testing.assert_close(aligned, target.mean(1, keepdim=True).expand_as(target))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.floats(0.2, 5.0))
def test_the_error_does_not_depend_on_where_the_prediction_stands(seed, scale):
    source, target = torch.as_tensor(points(seed, 1)), torch.as_tensor(points(seed + 1, 1))
    rotation = torch.as_tensor(Rotation.random(1, random_state=seed).as_matrix())
    moved = scale * source @ rotation.mT + 7.0
    torch.testing.assert_close(similarity_aligned(moved, target), similarity_aligned(source, target))


def test_no_similarity_is_better():
    source, target = torch.as_tensor(points(8)), torch.as_tensor(points(9))
    best = (similarity_aligned(source, target) - target).square().sum((1, 2))
    found = similarity_alignment(source, target)
    generator = np.random.default_rng(0)
    for _ in range(20):
        turn = torch.as_tensor(Rotation.from_rotvec(generator.normal(size=(5, 3)) * 0.05).as_matrix())
        scale = found.scale * (1 + 0.05 * float(generator.normal()))
        other = scale[:, None, None] * source @ (turn @ found.rotation).mT
        other = other + (target - other).mean(1, keepdim=True)
        assert ((other - target).square().sum((1, 2)) >= best).all()
