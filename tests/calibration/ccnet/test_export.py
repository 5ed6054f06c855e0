"""A network and its CCNet in one ONNX file: onnxruntime and numpy alone say what torch says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from calibration.ccnet.export import OUTPUTS, CalibratedNetwork, ExportOptions, export_network
from calibration.ccnet.files import load_ccnet, save_ccnet
from calibration.ccnet.model import BranchSpec, CCNet
from calibration.ccnet.packaged import packaged_ccnet
from pose2d.errors import InputError
from pose2d.networks.catalogue import build_network
from pose2d.networks.options import NetworkOptions
from pose2d.networks.packaged import load_by_options
from pose2d.skeletons import COCO17
from run_fitting import main
from tests.stick_figures import write_stick_figures

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


def run_bare(path: Path, images: Any, boxes: Any) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return dict(zip(OUTPUTS, session.run(list(OUTPUTS), {"images": images, "box_wh_px": boxes}), strict=True))


def compare(path: Path, network: Any, branch: CCNet, persons: int = 3) -> None:
    """On crops of noise: equal to 1e-4, lengths (xy_px, sigma_px) as shares of the crop height."""
    rng = np.random.default_rng(0)
    width, height = network.input_spec.size_wh
    pixels = rng.integers(0, 256, (persons, height // 8, width // 8, 3)).repeat(8, 1).repeat(8, 2)
    images = network.input_spec.normalise(torch.from_numpy(pixels.astype(np.uint8)))
    boxes = torch.tensor(rng.uniform(40, 300, (persons, 2)), dtype=torch.float32)
    with torch.no_grad():
        wanted = dict(zip(OUTPUTS, CalibratedNetwork(network, branch)(images, boxes), strict=True))
    found = run_bare(path, images.contiguous(memory_format=torch.contiguous_format).numpy(), boxes.numpy())
    for name, values in wanted.items():
        unit = height if name.endswith("_px") else 1.0
        np.testing.assert_allclose(found[name] / unit, values.numpy() / unit, rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("name", ["sbl-small", "rle-small", "ipr-small"])
def test_the_packaged_networks(name: str, tmp_path: Path) -> None:
    path = export_network(ExportOptions(network=name, out=tmp_path / "calibrated.onnx"))
    network = load_by_options(NetworkOptions(network=name), COCO17, trainable=True).network
    compare(path, network, load_ccnet(packaged_ccnet(name)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sbl-r50", "hrnet-w32", "vitpose-s", "rle-r50", "ipr-r50", "poseur-r50"])
def test_every_family(name: str, tmp_path: Path) -> None:
    if name.startswith("vitpose"):
        pytest.importorskip("transformers")
    torch.manual_seed(0)
    network = build_network(name).eval()
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, tmp_path / "n.safetensors")
    network = load_by_options(  # type: ignore[assignment]
        NetworkOptions(network=name, checkpoint=tmp_path / "n.safetensors"), COCO17, trainable=True
    ).network
    with torch.no_grad():
        width, height = network.input_spec.size_wh
        feature = network.decode(network(torch.zeros(1, 3, height, width))).feature
    spec = BranchSpec("local", "coco17", feature.shape[1], feature.ndim == 4, name, network.identity, presence=True)
    branch = CCNet(spec).eval()
    save_ccnet(branch, tmp_path / "c.safetensors")
    options = ExportOptions(
        network=name,
        checkpoint=tmp_path / "n.safetensors",
        ccnet=tmp_path / "c.safetensors",
        out=tmp_path / "calibrated.onnx",
    )
    compare(export_network(options), network, branch, persons=2)


def test_the_file_is_a_network_again(tmp_path: Path) -> None:
    write_stick_figures(tmp_path, "test", 3, 0)
    out = tmp_path / "calibrated.onnx"
    assert main(["export-network", "--network", "sbl-small", "--out", str(out)]) == 0
    network = load_by_options(NetworkOptions(network=str(out)), COCO17).network
    small = load_by_options(NetworkOptions(), COCO17).network
    assert network.reads_boxes and not network.has_flip_test
    spec, usual = network.input_spec, small.input_spec
    assert (spec.size_wh, spec.udp, spec.padding) == (usual.size_wh, usual.udp, usual.padding)
    assert spec.mean == pytest.approx(usual.mean) and spec.std == pytest.approx(usual.std)
    images = ["--images", str(tmp_path / "images" / "test")]
    boxes = ["--boxes", str(tmp_path / "annotations" / "person_keypoints_test.json")]
    for name, file in ((str(out), "a.json"), ("sbl-small", "b.json")):
        assert main(["detect", "--network", name, "--no-flip", *images, *boxes, "--out", str(tmp_path / file)]) == 0
    ours, theirs = (
        np.array([one["keypoints"] for one in json.loads((tmp_path / file).read_text())]).reshape(3, 17, 3)
        for file in ("a.json", "b.json")
    )
    np.testing.assert_allclose(ours[..., :2], theirs[..., :2], atol=0.02)
    assert np.abs(ours[..., 2] - theirs[..., 2]).max() > 0.01 and ((ours[..., 2] >= 0) & (ours[..., 2] <= 1)).all()


def test_a_ccnet_of_another_network_is_refused(tmp_path: Path) -> None:
    options = ExportOptions(network="rle-small", ccnet=packaged_ccnet("sbl-small"), out=tmp_path / "x.onnx")
    with pytest.raises(InputError, match="was trained on sbl-small"):
        export_network(options)
    assert not list(tmp_path.iterdir())
