"""The feature cache and the branches that are trained from it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from pycocotools.cocoeval import COCOeval

from calibration.ccnet.branches import HEADS
from calibration.ccnet.feature_cache import CacheOptions, cache_features
from calibration.ccnet.feature_parts import features_at
from calibration.ccnet.features import CachedFeatures, peak_statistics
from calibration.ccnet.files import load_ccnet, save_ccnet
from calibration.ccnet.losses import CONFIDENCE_LOSSES
from calibration.ccnet.model import (
    BranchSpec,
    CCNet,
    calibrate_batch,
    calibrate_cache,
    check_fits,
    inputs_of_cache,
)
from calibration.ccnet.training import BranchTraining, TrainingPersons, train_branch
from pose2d.errors import InputError
from pose2d.inference import InferredBatch, infer, infer_batches
from pose2d.networks.base import NetworkOutput
from pose2d.networks.catalogue import build_network
from pose2d.poses import Poses2D
from pose2d.skeletons import COCO17, MPII16
from tests.function_network import FunctionNetwork


@pytest.fixture(scope="module")
def cache(network, dataset, tmp_path_factory):
    return cache_features(network, dataset, tmp_path_factory.mktemp("cache"), CacheOptions("whole", batch=4))


def _telling(dataset, count=400, vector=False, seed=0):
    """A cache whose features tell the truth: channel 0 at each keypoint is its OKS, the box tells visibility."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, len(dataset), count)
    truth = dataset.select(rows)
    truth = replace(truth, image_ids=np.arange(count), areas=np.full(count, 4000.0))
    quality = rng.uniform(0.05, 1.0, (count, 1)) * np.ones((1, 17))
    distance = np.sqrt(-2 * np.log(quality)) * 2 * COCO17.sigmas * np.sqrt(4000.0)
    xy = truth.xy_px + np.stack([distance, np.zeros_like(distance)], axis=-1)
    shape = (count, 4) if vector else (count, 4, 8, 6)
    feature = rng.normal(0, 1, shape).astype(np.float16)
    feature[:, 0] = quality[:, 0] if vector else quality[:, :1, None]
    poses = Poses2D(COCO17, xy, rng.uniform(0, 1, (count, 17)), truth.boxes_xywh)
    return CachedFeatures(
        truth,
        poses,
        rng.uniform(0, 1, (count, 17, 2)),
        rng.uniform(0, 1, (count, 17, 3)),
        np.ones(count),
        feature,
        "f" * 64,
        cell_px=4.0,
    )


def test_cache_equals_inference(cache, network, dataset):
    direct = infer(network, dataset.image_paths, dataset.boxes_xywh, COCO17)
    np.testing.assert_allclose(cache.poses.xy_px, direct.poses.xy_px, atol=1e-4)
    np.testing.assert_allclose(cache.poses.raw_score, direct.poses.raw_score, atol=1e-5)
    assert cache.feature.shape == (12, 64, 32, 24)
    assert cache.network_hash == network.identity


def test_caches_of_networks_without_parameters_do_not_mix(dataset, tmp_path):
    network = FunctionNetwork(b"one")
    first = cache_features(network, dataset, tmp_path, CacheOptions("whole"))
    second = cache_features(FunctionNetwork(b"two"), dataset, tmp_path, CacheOptions("whole"))
    assert first.network_hash == network.identity != second.network_hash
    assert first.cell_px is None
    assert len(list(tmp_path.iterdir())) == 2


def test_cache_is_opened_and_not_computed_again(network, dataset, tmp_path, monkeypatch):
    first = cache_features(network, dataset, tmp_path, CacheOptions("whole"))
    import calibration.ccnet.feature_cache as module

    monkeypatch.setattr(module, "infer_batches", lambda *a: pytest.fail("ran the network again"))
    second = cache_features(network, dataset, tmp_path, CacheOptions("whole"))
    np.testing.assert_array_equal(first.feature, second.feature)
    other = build_network("sbl-small").eval()
    with pytest.raises(pytest.fail.Exception):
        cache_features(other, dataset, tmp_path, CacheOptions("whole"))


def test_interrupted_cache_is_resumed_and_never_read_as_whole(network, dataset, tmp_path, monkeypatch):
    import calibration.ccnet.feature_cache as module

    whole = cache_features(network, dataset, tmp_path / "whole", CacheOptions("whole", batch=1))
    original = module.infer_batches
    run = []

    def failing(network, images, *rest):
        for part in original(network, images, *rest):
            if len(run) == 6:
                raise OSError("no space left on device")
            run.append(len(part.rows))
            yield part

    monkeypatch.setattr(module, "_FLUSH_BATCHES", 2)
    monkeypatch.setattr(module, "infer_batches", failing)
    with pytest.raises(OSError, match="space"):
        cache_features(network, dataset, tmp_path / "part", CacheOptions("whole", batch=1))
    assert not list((tmp_path / "part").glob("*/cache.json"))
    monkeypatch.setattr(module, "infer_batches", lambda *a: (run.append(1) or part for part in original(*a)))
    resumed = cache_features(network, dataset, tmp_path / "part", CacheOptions("whole", batch=1))
    # One of a black image, five of twelve persons, of which four were kept, and the eight others.
    assert sum(run) == 1 + 5 + 8
    np.testing.assert_array_equal(resumed.feature, whole.feature)
    np.testing.assert_array_equal(resumed.poses.xy_px, whole.poses.xy_px)


def test_cache_without_room_is_refused(network, dataset, tmp_path, monkeypatch):
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(InputError, match="MB free"):
        cache_features(network, dataset, tmp_path, CacheOptions("whole"))
    monkeypatch.undo()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(InputError, match="No space left"):
        cache_features(network, dataset, tmp_path, CacheOptions("whole"))
    assert not list(tmp_path.iterdir())


def test_damaged_cache_is_named(network, dataset, tmp_path):
    cache_features(network, dataset, tmp_path, CacheOptions("whole"))
    (file,) = tmp_path.glob("*/feature.npy")
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(InputError, match="damaged"):
        cache_features(network, dataset, tmp_path, CacheOptions("whole"))


def test_unreadable_persons_are_left_out(network, dataset, tmp_path):
    boxes = dataset.boxes_xywh.copy()
    boxes[3] = [500, 500, 10, 10]
    cache = cache_features(network, replace(dataset, boxes_xywh=boxes), tmp_path, CacheOptions("whole"))
    assert len(cache) == 11
    assert 1004 not in cache.dataset.annotation_ids


def test_oks_is_that_of_pycocotools(cache):
    from pycocotools.coco import COCO

    truth = COCO(str(cache.dataset.annotation_file))
    results = truth.loadRes(
        [
            {
                "image_id": int(image),
                "category_id": 1,
                "keypoints": np.concatenate([xy, np.ones((17, 1))], axis=1).ravel().tolist(),
                "score": 1.0,
            }
            for image, xy in zip(cache.dataset.image_ids, cache.poses.xy_px)
        ]
    )
    judge = COCOeval(truth, results, "keypoints")
    judge.evaluate()
    expected = [float(judge.ious[int(image), 1][0, 0]) for image in cache.dataset.image_ids]
    np.testing.assert_allclose(cache.instance_oks(), expected, atol=1e-7)


def test_peak_statistics_of_gaussians():
    rows, columns = torch.arange(32.0)[:, None], torch.arange(24.0)
    one = torch.exp(-((rows - 10) ** 2 + (columns - 9) ** 2) / (2 * 1.0**2))
    two = one + 0.5 * torch.exp(-((rows - 25) ** 2 + (columns - 9) ** 2) / (2 * 1.0**2))
    maps = torch.stack([one, two])[None]
    output = NetworkOutput(torch.zeros(1, 2, 2), torch.ones(1, 2), None, torch.zeros(1, 1), maps)
    found = peak_statistics(output, (96, 128))
    torch.testing.assert_close(found[0, :, 0], torch.tensor([1.0, 1.0]), atol=0.03, rtol=0)
    torch.testing.assert_close(found[0, :, 1], torch.tensor([0.0, 0.5]), atol=0.01, rtol=0)
    torch.testing.assert_close(found[0, 1, 2] - found[0, 0, 2], torch.log(torch.tensor(1.5)), atol=0.01, rtol=0)


def test_features_at_read_the_right_cell():
    maps = torch.zeros(1, 2, 8, 6)
    maps[0, 1, 3, 4] = 1.0
    xy = torch.tensor([[[4 / 5, 3 / 7], [0.0, 0.0]]])
    found = features_at(maps, xy)
    torch.testing.assert_close(found[0, 0, :2], torch.tensor([0.0, 1.0]), atol=1e-5, rtol=0)
    assert found[0, 0, 3] > 0
    assert found[0, 1].abs().max() == 0


def test_features_at_are_those_of_torch():
    maps, xy = torch.randn(3, 4, 16, 12), 1.2 * torch.rand(3, 17, 2) - 0.1
    grid = (2 * xy - 1)[:, :, None]
    means = torch.nn.functional.avg_pool2d(maps, 5, 1, 2, count_include_pad=False)
    expected = [
        torch.nn.functional.grid_sample(one, grid, align_corners=True, padding_mode="border")[..., 0]
        for one in (maps, means)
    ]
    torch.testing.assert_close(features_at(maps, xy), torch.cat(expected, dim=1).transpose(1, 2), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("channels", [32, 48, 64, 256])
def test_local_branch_is_as_light_as_the_papers(channels):
    assert CCNet(BranchSpec("local", "coco17", channels, True, "", "", 3)).num_parameters < 0.085e6


@pytest.mark.parametrize("head", [head for head in HEADS if head != "scores"])
@pytest.mark.parametrize("vector", [False, True])
def test_branch_learns_confidence_from_features(dataset, head, vector):
    cache = _telling(dataset, vector=vector)
    config = BranchTraining(head=head, epochs=40 if head != "conv" else 12, lr=5e-3, batch=64)
    trained = train_branch(TrainingPersons(cache), config)
    fresh = _telling(dataset, count=100, vector=vector, seed=9)
    found = calibrate_cache(trained.branch, fresh)
    truth = fresh.keypoint_oks()[fresh.labelled]
    error = np.abs(found.confidence[fresh.labelled] - truth).mean()
    assert error < 0.6 * np.abs(truth - truth.mean()).mean()


def test_members_speak_by_their_mean(dataset, tmp_path):
    cache = _telling(dataset, 60)
    config = BranchTraining(head="linear", epochs=3)
    pair = train_branch(TrainingPersons(cache, cache), replace(config, members=2)).branch
    single = [train_branch(TrainingPersons(cache, cache), replace(config, seed=seed)).branch for seed in (0, 1)]
    expected = np.mean([calibrate_cache(branch, cache).confidence for branch in single], axis=0)
    np.testing.assert_allclose(calibrate_cache(pair, cache).confidence, expected, atol=1e-6)
    save_ccnet(pair, tmp_path / "pair.safetensors")
    loaded = calibrate_cache(load_ccnet(tmp_path / "pair.safetensors"), cache)
    np.testing.assert_allclose(loaded.confidence, expected, atol=1e-6)


def test_control_reads_raw_scores_alone(dataset):
    cache = _telling(dataset, 200)
    told = replace(cache, poses=replace(cache.poses, raw_score=np.sqrt(cache.keypoint_oks() + 0.01)))
    config = BranchTraining(head="scores", epochs=30, lr=5e-3, batch=64)
    branch = train_branch(TrainingPersons(told), config).branch
    found = calibrate_cache(branch, told)
    silent = calibrate_cache(branch, replace(told, feature=np.zeros_like(told.feature)))
    np.testing.assert_array_equal(found.confidence, silent.confidence)
    truth = told.keypoint_oks()[told.labelled]
    assert np.corrcoef(found.confidence[told.labelled], truth)[0, 1] > 0.9


@pytest.mark.parametrize("loss", CONFIDENCE_LOSSES)
def test_every_loss_trains(dataset, loss):
    trained = train_branch(
        TrainingPersons(_telling(dataset, 120)),
        BranchTraining(head="linear", loss=loss, epochs=15, instance_weight=0.1),
    )
    assert min(trained.held_out_loss[1:]) < trained.held_out_loss[0]


def test_parameters_of_the_convolutional_branch_are_those_of_table_2():
    for channels in (32, 48, 256):
        branch = CCNet(BranchSpec("conv", "coco17", channels, True, "", ""))
        paper = branch.num_parameters - 3 * 17 * 65  # without the outputs that other losses need
        assert 0.0765e6 < paper < 0.0815e6


def test_sample_of_another_batch_changes_nothing(dataset):
    cache = _telling(dataset, 40)
    branch = train_branch(TrainingPersons(cache), BranchTraining(epochs=2)).branch
    whole = calibrate_cache(branch, cache)
    part = calibrate_cache(branch, cache.select(np.arange(5, 9)))
    np.testing.assert_allclose(whole.confidence[5:9], part.confidence, atol=1e-6)
    assert ((whole.confidence >= 0) & (whole.confidence <= 1)).all()
    assert whole.instance_confidence.shape == (40,)


def test_fresh_batches_get_the_confidences_of_the_cache(cache, network, dataset):
    branch = train_branch(TrainingPersons(cache), BranchTraining(epochs=2, batch=4)).branch
    kept = calibrate_cache(branch, cache)
    parts = [
        calibrate_batch(branch, part, network.input_spec.size_wh)
        for part in infer_batches(network, dataset.image_paths, dataset.boxes_xywh, COCO17, batch=4)
        if isinstance(part, InferredBatch)
    ]
    np.testing.assert_allclose(np.concatenate([p.confidence for p in parts]), kept.confidence, atol=1e-4)
    # The poses themselves are untouched, to the last digit.
    np.testing.assert_array_equal(kept.poses.xy_px, cache.poses.xy_px)
    np.testing.assert_array_equal(kept.poses.raw_score, cache.poses.raw_score)


def test_saved_branch_is_the_same_and_refuses_others(cache, tmp_path):
    branch = train_branch(TrainingPersons(cache), BranchTraining(epochs=2, batch=4), "sbl-small").branch
    save_ccnet(branch, tmp_path / "c.safetensors", {"seed": "0"})
    loaded = load_ccnet(tmp_path / "c.safetensors")
    np.testing.assert_array_equal(calibrate_cache(branch, cache).confidence, calibrate_cache(loaded, cache).confidence)
    with pytest.raises(InputError, match="calibrate a CCNet for this checkpoint"):
        calibrate_cache(loaded, replace(cache, network_hash="0" * 64))
    with pytest.raises(InputError, match="mpii16"):
        check_fits(loaded, cache.network_hash, MPII16)
    assert loaded.spec.size_wh == (96, 128)
    with pytest.raises(InputError, match="crops of 96x128 pixels, these are of 192x256"):
        calibrate_cache(loaded, replace(cache, size_wh=(192, 256)))
    with pytest.raises(InputError, match="no such file"):
        load_ccnet(tmp_path / "other.safetensors")
    (tmp_path / "short.safetensors").write_bytes((tmp_path / "c.safetensors").read_bytes()[:200])
    with pytest.raises(InputError, match="cannot be read as a whole"):
        load_ccnet(tmp_path / "short.safetensors")
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors", {"ccnet": json.dumps({"head": "local"})})
    with pytest.raises(InputError, match="cannot be read as a CCNet of this version"):
        load_ccnet(tmp_path / "x.safetensors")


def test_training_refuses_what_cannot_be_trained(dataset):
    cache = _telling(dataset, 30)
    bad = replace(cache, poses=replace(cache.poses, xy_px=np.full_like(cache.poses.xy_px, np.nan)))
    with pytest.raises(InputError, match=r"loss is nan in epoch 0, on images \["):
        train_branch(TrainingPersons(bad), BranchTraining(head="linear"))
    blind = replace(cache, dataset=replace(cache.dataset, visible=np.zeros((30, 17), dtype=np.int64)))
    with pytest.raises(InputError, match="no labelled keypoint"):
        train_branch(TrainingPersons(blind), BranchTraining())
    with pytest.raises(InputError, match="no loss 'mae'; known are mse, bce"):
        train_branch(TrainingPersons(cache), BranchTraining(loss="mae"))
    with pytest.raises(InputError, match="two images"):
        train_branch(TrainingPersons(cache.select(np.arange(1))), BranchTraining())


@pytest.mark.parametrize("loss", CONFIDENCE_LOSSES)
def test_batch_without_a_visible_keypoint_does_no_harm(dataset, loss):
    cache = _telling(dataset, 12)
    visible = cache.dataset.visible.copy()
    visible[[2, 7]] = 0
    cache = replace(cache, dataset=replace(cache.dataset, visible=visible))
    trained = train_branch(TrainingPersons(cache, cache), BranchTraining(head="linear", loss=loss, epochs=2, batch=1))
    assert np.isfinite(trained.held_out_loss).all()
    assert np.isfinite(calibrate_cache(trained.branch, cache).confidence).all()


def test_caches_of_two_input_sizes_do_not_mix(dataset, tmp_path):
    sizes = [(96, 128), (192, 256)]
    networks = [build_network("sbl-small", 17, size).eval() for size in sizes]
    networks[1].load_state_dict(networks[0].state_dict())
    caches = [
        cache_features(network, dataset.select(np.arange(3)), tmp_path, CacheOptions("whole")) for network in networks
    ]
    assert [cache.size_wh for cache in caches] == sizes
    assert caches[0].network_hash == caches[1].network_hash
    assert caches[1].feature.shape[2] == 2 * caches[0].feature.shape[2]


def test_nobody_is_refused(network, dataset, tmp_path):
    with pytest.raises(InputError, match="it is empty"):
        cache_features(network, dataset.select(np.arange(0)), tmp_path, CacheOptions("whole"))
    assert not list(tmp_path.iterdir())


def test_held_out_persons_share_no_image_with_the_others(dataset):
    from calibration.ccnet.training import _samples, _split

    cache = _telling(dataset, 60)
    cache = replace(cache, dataset=replace(cache.dataset, image_ids=np.arange(60) // 3))
    branch = CCNet(BranchSpec("linear", "coco17", 4, True, "", ""))
    train, held_out = _split(_samples(branch, cache, CachedFeatures.keypoint_oks), BranchTraining())
    assert not set(train.image_ids) & set(held_out.image_ids)
    assert len(train) + len(held_out) == 60


def test_inputs_of_rows_are_those_rows(cache):
    some = inputs_of_cache(cache, slice(2, 4))
    assert len(some) == 2
    np.testing.assert_allclose(some.raw_score.numpy(), cache.poses.raw_score[2:4], rtol=1e-6)
