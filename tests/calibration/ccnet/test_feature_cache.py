"""Caches that keep of feature maps what branches read: results as from whole maps, at a fraction of the size."""

import json

import numpy as np
import pytest
import torch

import calibration.ccnet.feature_cache as feature_cache
from calibration.ccnet.altered_views import cut_views, patched_views
from calibration.ccnet.branches import HEADS
from calibration.ccnet.feature_cache import CacheOptions, cache_features, cache_views
from calibration.ccnet.model import BranchSpec, CCNet, inputs_of_cache
from calibration.ccnet.training import BranchTraining, TrainingPersons, train_branch
from calibration.experiments.methods import pooled_features
from pose2d.errors import InputError
from pose2d.networks.catalogue import build_network
from tests.function_network import FunctionNetwork

SIZE_WH = (96, 128)


@pytest.fixture(scope="module")
def caches(network, dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("caches")
    return {
        kept: cache_features(network, dataset, folder / kept, CacheOptions(kept, batch=4))
        for kept in ("points", "coarse", "whole")
    }


@pytest.fixture
def said(monkeypatch):
    """What is said to whoever sits at the terminal."""
    sentences = []
    monkeypatch.setattr(feature_cache, "say", sentences.append)
    return sentences


@pytest.mark.parametrize("head", HEADS)
def test_branches_read_the_same_from_every_cache(caches, head):
    spec = BranchSpec(head, "coco17", caches["points"].channels, True, "", "")
    torch.manual_seed(0)
    branch = CCNet(spec).eval()
    expected = branch.condense(inputs_of_cache(caches["whole"]))
    for kept in ("coarse",) if head == "conv" else ("points", "coarse"):
        found = branch.condense(inputs_of_cache(caches[kept]))
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            large = number in branch.members[0].in_half
            torch.testing.assert_close(one, other, rtol=1e-3 if large else 1e-5, atol=1e-5)


def test_what_a_cache_does_not_keep_is_named(caches):
    branch = CCNet(BranchSpec("conv", "coco17", caches["points"].channels, True, "", ""))
    with pytest.raises(InputError, match="does not keep what the branch reads"):
        branch.condense(inputs_of_cache(caches["points"]))


@pytest.mark.parametrize("head", ["linear", "local"])
def test_training_gives_the_same_branch(caches, head):
    config = BranchTraining(head=head, epochs=4, members=1)
    losses = [train_branch(TrainingPersons(caches[kept]), config).held_out_loss for kept in ("points", "whole")]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def test_pooled_features_are_the_means(caches):
    expected = np.asarray(caches["whole"].feature, dtype=np.float64).mean(axis=(2, 3))
    for cache in caches.values():
        np.testing.assert_allclose(pooled_features(cache), expected, atol=1e-6)


def test_caches_are_small_and_say_so(dataset, tmp_path, said):
    """SBL-R50's 256 channels at 17 keypoints: at most 20 KB per person and view."""
    with torch.device("meta"):
        channels = build_network("sbl-r50").eval()(torch.empty(1, 3, 256, 192)).feature.shape[1]
    values = 17 * 2 * channels * 2 + channels * 4 + 17 * (2 + 1 + 2 + 3) * 8 + 5 * 8 + 1
    assert values < 20_000
    cache_features(build_network("sbl-small").eval(), dataset, tmp_path)
    size = (17 * 2 * 64 * 2 + 64 * 4 + 17 * (2 + 1 + 2 + 3) * 8 + 5 * 8 + 1) / 1e3
    assert f"{size:.1f} KB per person and view" in said[0]
    (folder,) = tmp_path.iterdir()
    assert sum(file.stat().st_size for file in folder.glob("*.npy")) < 12 * 1e3 * size + 10 * 256


def test_features_that_are_vectors_are_kept_as_they_are(dataset, tmp_path):
    cache = cache_features(FunctionNetwork(b"one"), dataset, tmp_path)
    assert cache.feature_is_map == (cache.feature is None)
    assert (cache.mean is None) == (cache.feature is not None)


def test_one_pass_serves_all_views_and_opens_each_image_once(network, dataset, tmp_path, monkeypatch):
    views = [None, cut_views(dataset, SIZE_WH, 1.25), patched_views(dataset)]
    apart = [cache_features(network, dataset, tmp_path / "apart", views=one) for one in views]
    opened = []
    original = feature_cache.read_image
    monkeypatch.setattr(feature_cache, "read_image", lambda path: opened.append(path) or original(path))
    together = cache_views(network, dataset, tmp_path / "together", views)
    assert sorted(opened) == sorted(dataset.image_paths)
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_allclose(one.poses.xy_px, other.poses.xy_px, atol=1e-4)
        np.testing.assert_allclose(one.at_keypoints, other.at_keypoints, rtol=2e-3, atol=1e-4)
        np.testing.assert_array_equal(one.dataset.boxes_xywh, other.dataset.boxes_xywh)


def test_an_interrupted_pass_over_views_goes_on(network, dataset, tmp_path, monkeypatch):
    views = [None, cut_views(dataset, SIZE_WH, 1.25)]
    options = CacheOptions(batch=2)
    whole = cache_views(network, dataset, tmp_path / "whole", views, options)
    monkeypatch.setattr(feature_cache, "_FLUSH_BATCHES", 1)
    original, passes = feature_cache._values, []

    def failing(*arguments):
        passes.append(1)
        if len(passes) == 7:
            raise OSError(28, "No space left on device")
        return original(*arguments)

    monkeypatch.setattr(feature_cache, "_values", failing)
    with pytest.raises(OSError, match="No space"):
        cache_views(network, dataset, tmp_path / "part", views, options)
    assert not list((tmp_path / "part").glob("*/cache.json"))
    resumed = cache_views(network, dataset, tmp_path / "part", views, options)
    assert len(passes) < 7 + 2 * 6
    for one, other in zip(resumed, whole, strict=True):
        np.testing.assert_array_equal(one.at_keypoints, other.at_keypoints)
        np.testing.assert_array_equal(one.mean, other.mean)


def test_caches_of_whole_maps_are_recognised(network, dataset, tmp_path, said):
    cache_features(network, dataset, tmp_path, CacheOptions("whole"))
    cache = cache_features(network, dataset, tmp_path)
    assert "keeps whole feature maps" in said[1] and "as older versions did" in said[1]
    assert cache.feature is not None
    assert len(list(tmp_path.iterdir())) == 1


def test_two_runs_do_not_fill_one_cache(network, dataset, tmp_path, monkeypatch):
    original = feature_cache._values

    def another(*arguments):
        with pytest.raises(InputError, match="another run is writing"):
            cache_features(network, dataset, tmp_path)
        return original(*arguments)

    first = cache_features(network, dataset, tmp_path / "first")
    (folder,) = (tmp_path / "first").iterdir()
    assert json.loads((folder / "cache.json").read_text())["key"]["kept"] == "points"
    monkeypatch.setattr(feature_cache, "_values", another)
    second = cache_features(network, dataset, tmp_path)
    np.testing.assert_array_equal(first.mean, second.mean)


def test_rows_of_a_cache_keep_what_it_keeps(caches):
    rows = np.array([3, 1, 7])
    for cache in caches.values():
        chosen = cache.select(rows)
        for part, whole in zip(chosen.feature_parts, cache.feature_parts, strict=True):
            assert (part is None) == (whole is None)
            if part is not None:
                np.testing.assert_array_equal(part, whole[rows])
