"""Every family against the numbers that the official code gave for the same weights and the same image.

The golden files hold the official state dict's names and shapes, and samples of its output; the sidecars tell the
repository, the commit and how they were made. Weights and images follow a rule (`filled_states.py`) that both sides
apply, here through the translation of names that loading a checkpoint uses.
"""

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from pose2d.networks.catalogue import NETWORKS, allocate_network, build_network
from pose2d.networks.checkpoints import fill_network
from pose2d.skeletons import COCO17
from tests.pose2d.networks.filled_states import filled, image, kept, samples

HEATMAP_FAMILIES = (
    "sbl_r50_pytorch",
    pytest.param("sbl_r50_caffe", marks=pytest.mark.slow),
    "hrnet_w32",
    "vitpose_b",
    pytest.param("vitpose_b_simple", marks=pytest.mark.slow),
)
NAMES = {"sbl_r50_pytorch": "sbl-r50", "sbl_r50_caffe": "sbl-r50-caffe"}


def official_state(golden: dict[str, np.ndarray], constants: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The official state dict, filled by the rule; entries that the rule keeps come from `constants`."""
    state = {}
    for line in zlib.decompress(golden["names"].tobytes()).decode().split("\n"):
        name, _, shape = line.partition(" ")
        sides = tuple(int(side) for side in shape.split(",")) if shape else ()
        state[name] = constants.get(name, torch.zeros(sides)) if kept(name) else torch.from_numpy(filled(name, sides))
    return state


def loaded(name: str, directory: Path, size: tuple[int, int] | None = None):
    """Our network with the official weights, and the golden numbers."""
    with np.load(directory / f"{name}.npz") as archive:
        golden = dict(archive)
    name_here = NAMES.get(name, name.replace("_", "-"))
    # The flow's masks are constants, which the rule does not fill.
    network = (build_network if name.startswith(("rle", "poseur")) else allocate_network)(name_here, 17, size)
    constants = {f"{prefix}{key}": value for prefix in ("", "head.") for key, value in network.state_dict().items()}
    fill_network(network, official_state(golden, constants), name)
    return network.eval(), golden


def assert_close(ours: torch.Tensor, theirs: np.ndarray, relative: float) -> None:
    """Largest difference against the largest official value."""
    assert ours.numel() == theirs.size or theirs.size == 200
    values = samples(ours.numpy()) if ours.numel() > 200 else ours.numpy().reshape(-1)
    assert np.abs(values - theirs.reshape(-1)).max() <= relative * np.abs(theirs).max()


@pytest.mark.parametrize("name", HEATMAP_FAMILIES)
def test_heatmaps_equal_the_official_ones(name: str, golden: Path) -> None:
    network, numbers = loaded(name, golden)
    with torch.inference_mode():
        heatmaps = network(torch.from_numpy(image((192, 256)))).heatmaps
    assert heatmaps.shape == tuple(numbers["shape"])
    assert_close(heatmaps, numbers["float32"], 1e-4)


@pytest.mark.parametrize("name", ["sbl_r50_pytorch", "hrnet_w32"])
def test_heatmaps_equal_the_official_ones_in_double_precision(name: str, golden: Path) -> None:
    network, numbers = loaded(name, golden)
    with torch.inference_mode():
        heatmaps = network.double()(torch.from_numpy(image((96, 128))).double()).heatmaps
    assert_close(heatmaps, numbers["float64"], 1e-10)


@pytest.mark.slow
def test_vitpose_equals_the_official_one_in_double_precision(golden: Path) -> None:
    network, numbers = loaded("vitpose_b", golden)
    with torch.inference_mode():
        heatmaps = network.double()(torch.from_numpy(image((192, 256))).double()).heatmaps
    assert_close(heatmaps, numbers["float64"], 1e-10)


def test_rle_with_its_flip_test_flow_and_loss(golden: Path) -> None:
    network, numbers = loaded("rle_r50", golden)
    with torch.inference_mode():
        images = torch.from_numpy(image((192, 256)))
        raw, flipped = network(images), network(images.flip(-1))
        # Officially the crop's middle is 0, here its corner.
        assert_close(raw.xy - 0.5, numbers["xy"], 1e-4)
        assert_close(raw.sigma, numbers["sigma"], 1e-4)
        assert_close(raw.score, numbers["score"], 1e-4)
        merged = network.average_flipped(raw, flipped, COCO17.flip_pairs)
        assert_close(merged.xy - 0.5, numbers["flip_xy"], 1e-4)
        assert_close(merged.score, numbers["flip_score"], 1e-4)
        points = torch.from_numpy(np.random.default_rng(5).standard_normal((32, 2)))
        assert_close(network.flow.log_prob(points.float()), numbers["flow32"], 1e-4)

        network = network.double()
        exact = network(torch.from_numpy(image((96, 128))).double())
        assert_close(exact.xy - 0.5, numbers["xy64"], 1e-10)
        assert_close(exact.sigma, numbers["sigma64"], 1e-10)
        target = torch.from_numpy(np.random.default_rng(6).uniform(-0.5, 0.5, (1, 17, 2))) + 0.5
        weight = torch.ones(1, 17, dtype=torch.float64)
        weight[:, ::3] = 0.0
        # The official prior stays in single precision.
        assert float(network.loss(exact, target, weight)) == pytest.approx(float(numbers["loss64"]), rel=1e-7)


def test_poseur_with_both_flip_tests(golden: Path) -> None:
    network, numbers = loaded("poseur_r50", golden)
    size = torch.tensor([192.0, 256.0])
    with torch.inference_mode():
        images = torch.from_numpy(image((192, 256)))
        raw, flipped = network(images), network(images.flip(-1))
        assert_close(raw.xy, numbers["xy"], 1e-4)
        assert_close(raw.sigma, numbers["sigma"], 1e-4)
        merged = network.average_flipped(raw, flipped, COCO17.flip_pairs)
        assert_close(torch.cat([merged.xy * size, merged.score[..., None]], -1), numbers["flip_type2"], 1e-4)
        network.score = "sigma"
        raw, flipped = network(images), network(images.flip(-1))
        assert_close(raw.score, numbers["score"], 1e-4)
        merged = network.average_flipped(raw, flipped, COCO17.flip_pairs)
        assert_close(torch.cat([merged.xy * size, merged.score[..., None]], -1), numbers["flip_default"], 1e-4)


def test_ipr_with_its_flip_test_and_debiasing(golden: Path) -> None:
    network, numbers = loaded("ipr_r50", golden)
    with torch.inference_mode():
        images = torch.from_numpy(image((256, 256)))
        raw, flipped = network(images), network(images.flip(-1))
        assert_close(raw.xy, numbers["xy"], 1e-4)
        assert_close(raw.probabilities, numbers["maps"], 1e-4)
        merged = network.average_flipped(raw, flipped, COCO17.flip_pairs)
        assert_close(merged.xy, numbers["flip_xy"], 1e-4)
        # mmpose scores every keypoint with 1; the maximum of the softmaxed map is this project's (the paper's "Hm").
        assert np.allclose(raw.score.numpy(), raw.probabilities.numpy().reshape(1, 17, -1).max(-1))
        assert np.allclose(merged.score.numpy(), merged.probabilities.numpy().reshape(1, 17, -1).max(-1))
        network.score = "constant"
        official = network.average_flipped(network(images), flipped, COCO17.flip_pairs)
        assert torch.equal(official.score, torch.ones_like(official.score))
        assert torch.equal(official.xy, merged.xy)
        network.debias = True
        assert_close(network(images).xy, numbers["debiased_xy"], 1e-4)
        exact = network.double()(images.double())
        assert_close(exact.xy, numbers["debiased_xy64"], 1e-10)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # lib/dataset/JointsDataset.py reads BGR with OpenCV, tools/test.py normalises it with RGB statistics.
        ("sbl-r50", [(30 / 255 - 0.485) / 0.229, (20 / 255 - 0.456) / 0.224, (10 / 255 - 0.406) / 0.225]),
        # DATASET.COLOR_RGB is true in HRNet's configurations.
        ("hrnet-w32", [(10 / 255 - 0.485) / 0.229, (20 / 255 - 0.456) / 0.224, (30 / 255 - 0.406) / 0.225]),
        # SimpleTransform subtracts these from RGB and divides by nothing.
        ("rle-r50", [10 / 255 - 0.406, 20 / 255 - 0.457, 30 / 255 - 0.480]),
    ],
)
def test_inputs_are_normalised_as_officially(name: str, expected: list[float]) -> None:
    crop = torch.tensor([10, 20, 30], dtype=torch.uint8).expand(1, 4, 3, 3)
    images = NETWORKS[name].input_spec.normalise(crop)
    assert images.shape == (1, 3, 4, 3)
    assert images[0, :, 2, 1].tolist() == pytest.approx(expected, abs=1e-6)


def test_the_two_stride_placements_differ(golden: Path) -> None:
    """The reason why a caffe-style checkpoint must be named: same entries, other heatmaps."""
    kinds = [np.load(golden / f"sbl_r50_{kind}.npz") for kind in ("pytorch", "caffe")]
    assert np.array_equal(kinds[0]["names"], kinds[1]["names"])
    difference = np.abs(kinds[0]["float32"] - kinds[1]["float32"]).max()
    assert difference > 0.1 * np.abs(kinds[0]["float32"]).max()
