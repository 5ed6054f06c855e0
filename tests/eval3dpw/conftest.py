"""Hand-made sequences that lie on disk as 3DPW's do, made without the project's own writer."""

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

IMAGE_WH = (64, 48)


def fake_sequence(name: str, frames: int = 4, actors: int = 1, seed: int = 0) -> dict:
    """The fields of one 3DPW sequence file, random but valid."""
    rng = np.random.default_rng(seed)
    poses2d = rng.uniform((4, 4, 0.4), (60, 44, 1.0), size=(actors, frames, 18, 3)).transpose(0, 1, 3, 2)
    cameras = np.tile(np.eye(4), (frames, 1, 1))
    cameras[:, 2, 3] = 4.0
    return {
        "sequence": name,
        "betas": [rng.normal(size=10) for _ in range(actors)],
        "poses": [rng.normal(size=(frames, 72)) * 0.2 for _ in range(actors)],
        "trans": [rng.normal(size=(frames, 3)) * 0.1 for _ in range(actors)],
        "poses2d": list(poses2d),
        "genders": ["m", "f"][:actors],
        "campose_valid": [np.ones(frames, dtype=int) for _ in range(actors)],
        "cam_poses": cameras,
        "cam_intrinsics": np.array([[60.0, 0, 32], [0, 60.0, 24], [0, 0, 1]]),
        "img_frame_ids": np.arange(frames),
    }


@pytest.fixture
def write_sequence():
    """Write a sequence (and its images) under a root folder; returns the sequence file."""

    def write(root: Path, data: dict, split: str = "test", images: bool = True) -> Path:
        path = root / "sequenceFiles" / split / f"{data['sequence']}.pkl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(data, protocol=2))
        folder = root / "imageFiles" / data["sequence"]
        if images:
            folder.mkdir(parents=True, exist_ok=True)
            for frame in range(len(data["cam_poses"])):
                image = np.full((IMAGE_WH[1], IMAGE_WH[0], 3), 40 + frame, np.uint8)
                assert cv2.imwrite(str(folder / f"image_{frame:05d}.jpg"), image)
        return path

    return write


@pytest.fixture
def make_sequence():
    return fake_sequence


@pytest.fixture(scope="session")
def random_networks(tmp_path_factory) -> dict[str, Path]:
    """Checkpoints of the small networks with random weights: pose network, its CCNet, regressor."""
    import torch
    from safetensors.torch import save_file

    from calibration.ccnet.files import save_ccnet
    from calibration.ccnet.model import BranchSpec, CCNet
    from fitting.regressor.model import Regressor, RegressorConfig, save_regressor
    from pose2d.networks.catalogue import build_network

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("networks")
    network = build_network("sbl-small")
    save_file(network.state_dict(), folder / "pose.safetensors", {"config": '{"heatmap_sigma": 1.2}'})
    with torch.no_grad():
        channels = network.eval().decode(network(torch.zeros(1, 3, 128, 96))).feature.shape[1]
    spec = BranchSpec("local", "coco17", channels, True, "sbl-small", network.identity)
    save_ccnet(CCNet(spec), folder / "ccnet.safetensors")
    regressor = Regressor(RegressorConfig(18, 16, 64, 64, orientation="ray"))
    save_regressor(regressor, folder / "regressor.safetensors")
    return {name: folder / f"{name}.safetensors" for name in ("pose", "ccnet", "regressor")}
