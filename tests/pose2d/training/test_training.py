"""The trainer learns, resumes after a kill, and refuses what it cannot train."""

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from pose2d.datasets.coco import read_coco
from pose2d.datasets.crop_set import cut_crops
from pose2d.errors import InputError
from pose2d.networks.base import TorchPoseNetwork
from pose2d.networks.catalogue import build_network
from pose2d.training.options import TrainPoseOptions
from pose2d.training.trainer import _PoseRun, predict_crops, take_over, train_pose
from tests.stick_figures import write_stick_figures


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("stick")
    write_stick_figures(root, "train", 24)
    write_stick_figures(root, "validation", 6, seed=1)
    return root


def _config(root, out, **changes):
    options = {"minutes": 0.05, "batch": 8, "evaluate_minutes": 10.0, "checkpoint_minutes": 0.0} | changes
    return TrainPoseOptions(root, out, **options)


def test_training_ends_on_time_and_leaves_weights(root, tmp_path):
    result = train_pose(_config(root, tmp_path))
    assert result.steps > 1
    assert result.minutes < 1.0
    with safe_open(result.checkpoint, "pt") as file:
        assert file.metadata()["network"] == "sbl-small"
        network = build_network("sbl-small")
        network.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    assert (tmp_path / "sbl-small.state.pt").is_file()


def test_loss_falls(root, tmp_path):
    run = _run_on(_config(root, tmp_path, minutes=1e6, warmup=0.0, lr=1e-3))
    crops = cut_crops(read_coco(root, "train"), (96, 128))
    from pose2d.training.losses import heatmap_loss

    losses = [run.take_step(crops, np.arange(8), (64, 96), heatmap_loss) for _ in range(25)]
    assert np.mean(losses[-5:]) < 0.75 * np.mean(losses[:5])


def _run_on(config):
    network = build_network(config.network)
    network.train()
    return _PoseRun(config, network)


def test_resuming_takes_up_step_clock_and_weights(root, tmp_path):
    config = _config(root, tmp_path)
    first = train_pose(config)
    run = _run_on(config)
    run.load()
    assert run.step == first.steps
    assert run.progress == 1.0
    resumed = train_pose(_config(root, tmp_path, minutes=0.1, resume=True))
    assert resumed.steps > first.steps


def test_checkpoint_of_other_network_is_refused(root, tmp_path):
    (tmp_path / "sbl-small.state.pt").write_bytes(b"nothing")
    with pytest.raises(InputError, match="does not resume"):
        train_pose(_config(root, tmp_path, resume=True))


def test_family_without_loss_is_refused(root, tmp_path):
    with pytest.raises(InputError, match="no loss"):
        train_pose(_config(root, tmp_path, network="vitpose-b"))


@pytest.mark.parametrize("name", ["ipr-small", "rle-small"])
def test_backbone_is_taken_over_and_family_trains(root, tmp_path, name):
    torch.manual_seed(1)
    source = build_network("sbl-small")
    save_file(source.state_dict(), tmp_path / "sbl.safetensors")
    network = build_network(name)
    assert take_over(network, tmp_path / "sbl.safetensors") > 100
    inner = network.trunk if name == "ipr-small" else network.preact
    torch.testing.assert_close(inner.layer3[0].conv1.weight, source.layer3[0].conv1.weight)
    if name == "ipr-small":
        torch.testing.assert_close(network.trunk.final_layer.weight, 20.0 * source.final_layer.weight)
    result = train_pose(_config(root, tmp_path / name, network=name, initial=tmp_path / "sbl.safetensors"))
    assert result.checkpoint.name == f"{name}.safetensors"
    save_file({"x": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="shares no weights"):
        take_over(network, tmp_path / "other.safetensors")


def test_predictions_are_in_image_pixels(root):
    """A network that always answers with the crop's centre finds the box's centre."""

    class Centre(TorchPoseNetwork):
        def __init__(self):
            super().__init__()
            self.inner = build_network("sbl-small").eval()
            self.input_spec, self.num_keypoints = self.inner.input_spec, 17

        def forward(self, images):
            raw = self.inner(images)
            rows, columns = torch.arange(32.0) - 15.5, torch.arange(24.0) - 11.5
            maps = torch.exp(-(rows[:, None] ** 2 + columns**2) / 8).expand(len(images), 17, 32, 24)
            return type(raw)(maps.contiguous(), raw.feature)

        def average_flipped(self, raw, flipped, flip_pairs):
            return self.inner.average_flipped(raw, flipped, flip_pairs)

        def decode(self, raw):
            self.inner.set_decoding("dark-udp")
            return self.inner.decode(raw)

    dataset = read_coco(root, "validation")
    xy, score = predict_crops(Centre(), cut_crops(dataset, (96, 128)))
    centers = dataset.boxes_xywh[:, :2] + dataset.boxes_xywh[:, 2:] / 2
    np.testing.assert_allclose(xy, np.repeat(centers[:, None], 17, axis=1), atol=0.05)
    assert score.shape == (len(dataset), 17)
