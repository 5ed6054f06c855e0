"""Cut and patched views: what is drawn, what is known of it, and that a branch learns presence from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from calibration.ccnet.altered_views import cut_views, patched_views
from calibration.ccnet.feature_cache import CacheOptions, cache_features
from calibration.ccnet.features import CachedFeatures
from calibration.ccnet.model import BranchSpec, CCNet, calibrate_cache
from calibration.ccnet.training import BranchTraining, TrainingPersons, _Objective, _samples, train_branch
from pose2d.crops import apply_affine, box_to_crop
from pose2d.errors import InputError
from pose2d.files.images import read_image

SIZE_WH = (96, 128)


def test_cut_picture_is_black_beyond_the_window_and_the_image_within(dataset):
    views = cut_views(dataset, SIZE_WH, 1.25)
    for row in range(len(views)):
        image = read_image(dataset.image_paths[row])
        picture = views.picture(row, image)
        y, x = np.mgrid[: image.shape[0], : image.shape[1]]
        left, top, right, bottom = views.window_xyxy[row]
        inside = (x >= left) & (x <= right) & (y >= top) & (y <= bottom)
        np.testing.assert_array_equal(picture[inside], image[inside])
        assert not picture[~inside].any()
        assert 0.05 < inside.mean() < 1.0


def test_absent_are_the_labelled_keypoints_beyond_the_window_or_the_crop(dataset):
    views = cut_views(dataset, SIZE_WH, 1.25, seed=4)
    west, north, east, south = views.window_xyxy.T[..., None]
    x, y = dataset.xy_px[..., 0], dataset.xy_px[..., 1]
    affines = box_to_crop(views.dataset.boxes_xywh, SIZE_WH, 1.25)
    crop = apply_affine(affines, dataset.xy_px)
    expected = (x >= west) & (x <= east) & (y >= north) & (y <= south)
    expected &= ((crop >= -1e-6) & (crop <= np.array(SIZE_WH) + 1e-6)).all(axis=-1)
    known = views.presence_known
    np.testing.assert_array_equal(known, dataset.labelled)
    np.testing.assert_array_equal(views.present[known], expected[known])
    assert 0.2 < views.present[known].mean() < 0.9
    # As annotated in the cut picture: no label there, box and area of what is left.
    np.testing.assert_array_equal(views.dataset.labelled, dataset.labelled & expected)
    np.testing.assert_array_equal(
        views.dataset.visible[views.dataset.labelled], dataset.visible[views.dataset.labelled]
    )
    before, after = (np.prod(d.boxes_xywh[:, 2:], axis=1) for d in (dataset, views.dataset))
    np.testing.assert_allclose(views.dataset.areas / dataset.areas, after / before, rtol=1e-9)
    assert (after < before).all()


def test_patch_covers_a_labelled_keypoint_and_nothing_else(dataset):
    views = patched_views(dataset)
    for row in range(len(views)):
        image = read_image(dataset.image_paths[row])
        changed = (views.picture(row, image) != image).any(axis=-1)
        y, x = np.nonzero(changed)
        left, top, right, bottom = views.patch_xyxy[row]
        assert ((x >= left) & (x <= right) & (y >= top) & (y <= bottom)).all()
        np.testing.assert_array_equal(views.picture(row, image), views.picture(row, image))
    hidden = dataset.labelled & ~views.label_known
    assert (hidden.sum(axis=1) >= 1).all()
    assert views.present[views.presence_known].all()
    np.testing.assert_array_equal(views.dataset.labelled, dataset.labelled)


@pytest.mark.parametrize("make", [lambda d: cut_views(d, SIZE_WH, 1.25), patched_views])
def test_view_of_a_person_depends_on_no_other(dataset, make):
    whole, part = make(dataset), make(dataset.select(np.array([7, 2])))
    np.testing.assert_array_equal(whole.window_xyxy[[7, 2]], part.window_xyxy)
    np.testing.assert_array_equal(whole.patch_xyxy[[7, 2]], part.patch_xyxy)
    image = read_image(dataset.image_paths[2])
    np.testing.assert_array_equal(whole.picture(2, image), part.picture(1, image))
    assert whole.select(np.array([7, 2])).digest == part.digest != whole.digest


def test_views_are_cached_apart_and_as_they_were_drawn(network, dataset, tmp_path):
    views = cut_views(dataset, SIZE_WH, 1.25)
    plain = cache_features(network, dataset, tmp_path, CacheOptions("whole"))
    cut = cache_features(network, dataset, tmp_path, CacheOptions("whole", batch=5), views=views)
    assert len(list(tmp_path.iterdir())) == 2
    assert cut.views is not None and len(cut) == len(plain) == 12
    np.testing.assert_array_equal(cut.poses.boxes_xywh, views.dataset.boxes_xywh)
    alone = cache_features(network, dataset, tmp_path, CacheOptions("whole"), views=views.select(np.array([3])))
    np.testing.assert_allclose(alone.poses.xy_px[0], cut.poses.xy_px[3], atol=1e-3)
    some = cut.select(np.array([3, 5]))
    np.testing.assert_array_equal(some.present, cut.present[[3, 5]])
    np.testing.assert_array_equal(plain.present, plain.labelled)


def test_unreadable_images_are_left_out_of_views_too(network, dataset, tmp_path):
    views = patched_views(dataset)
    paths = list(dataset.image_paths)
    paths[4] = tmp_path / "none.jpg"
    views = replace(views, dataset=replace(dataset, image_paths=tuple(paths)))
    cache = cache_features(network, dataset, tmp_path, CacheOptions("whole"), views=views)
    assert len(cache) == 11
    assert dataset.annotation_ids[4] not in cache.dataset.annotation_ids


def _informed(dataset, network, folder, seed):
    """Caches of plain and cut persons whose features tell which keypoints are present."""
    plain = cache_features(network, dataset, folder, CacheOptions("whole"))
    cut = cache_features(network, dataset, folder, CacheOptions("whole"), views=cut_views(dataset, SIZE_WH, 1.25, seed))
    rng = np.random.default_rng(seed)
    told = []
    for cache in (plain, cut):
        feature = rng.normal(0, 0.1, (len(cache), 17)).astype(np.float16)
        feature += np.where(cache.presence_known & ~cache.present, 1.0, 0.0).astype(np.float16)
        told.append(replace(cache, feature=feature))
    return told


def test_branch_learns_presence_and_hides_nothing_else(network, dataset, tmp_path):
    plain, cut = _informed(dataset, network, tmp_path, 0)
    config = BranchTraining(head="linear", epochs=60, lr=3e-2, batch=12, presence_weight=1.0)
    branch = train_branch(TrainingPersons(plain, plain, [cut], [cut]), config).branch
    assert branch.spec.presence
    _, other = _informed(dataset, network, tmp_path, 1)
    found, known = calibrate_cache(branch, other), other.presence_known
    ranks, present = rankdata(found.presence[known]), other.present[known]
    auc = (ranks[present].sum() - present.sum() * (present.sum() + 1) / 2) / (present.sum() * (~present).sum())
    assert auc > 0.9
    without = train_branch(TrainingPersons(plain, plain), replace(config, epochs=2)).branch
    assert not without.spec.presence
    np.testing.assert_array_equal(calibrate_cache(without, plain).presence, 1.0)


def test_what_is_not_known_does_not_count(network, dataset, tmp_path):
    """Targets of cut-away confidences, of labels under a patch, and of presences of unlabelled keypoints are moot."""
    spec = BranchSpec("linear", "coco17", 64, True, "", "", presence=True)
    branch, config = CCNet(spec).eval(), BranchTraining(head="linear")
    cut = cache_features(network, dataset, tmp_path, CacheOptions("whole"), views=cut_views(dataset, SIZE_WH, 1.25))
    patched = cache_features(network, dataset, tmp_path, CacheOptions("whole"), views=patched_views(dataset))

    def loss(samples, config):
        return _Objective(branch, config)(samples.condensed, samples.truth)

    for cache, name, free in (
        (cut, "target", ~cut.labelled),
        (cut, "present", ~cut.presence_known),
        (patched, "labelled", ~patched.label_known),
    ):
        samples = _samples(branch, cache, CachedFeatures.keypoint_oks)
        unknown = torch.from_numpy(free)
        value = samples.truth[name]
        flipped = torch.where(unknown, 1.0 - value, value) if name == "target" else value ^ unknown
        other = replace(samples, truth={**samples.truth, name: flipped})
        parts = [replace(config, visibility_weight=1.0), replace(config, presence_weight=1.0)]
        if name == "labelled":  # the label under a patch still says that the confidence counts there
            parts = [replace(config, visibility_weight=0.0), config]
            visibility = [loss(s, parts[1]) - loss(s, parts[0]) for s in (samples, other)]
            torch.testing.assert_close(*visibility)
            continue
        assert free.any()
        for part in parts:
            torch.testing.assert_close(loss(samples, part), loss(other, part))


def test_views_of_nobody_labelled_are_refused(network, dataset, tmp_path):
    blind = replace(dataset, visible=np.zeros_like(dataset.visible))
    cache = cache_features(network, dataset, tmp_path, CacheOptions("whole"), views=patched_views(blind))
    plain = cache_features(network, dataset, tmp_path, CacheOptions("whole"))
    with pytest.raises(InputError, match="no labelled keypoint"):
        train_branch(TrainingPersons(plain, views=[cache]), BranchTraining(head="linear", epochs=1))
