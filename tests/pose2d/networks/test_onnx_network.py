"""ONNX networks: each kind of export against its graph run bare, mmpose's decoding, and files that are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from calibration.ccnet.files import load_ccnet
from pose2d.decoding import decode_simcc
from pose2d.errors import InputError
from pose2d.networks.base import predict
from pose2d.networks.options import NetworkOptions
from pose2d.networks.packaged import load_by_options
from pose2d.skeletons import COCO17
from run_fitting import main
from tests.stick_figures import write_stick_figures

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
from tests.pose2d.networks import onnx_graphs as graphs  # noqa: E402 # needs onnx


def load(path, **options):
    return load_by_options(NetworkOptions(network=str(path), **options), COCO17).network


def crops(height=graphs.HEIGHT, width=graphs.WIDTH):
    return torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, height, width, 3), dtype=np.uint8))


def bare(path, images, name=None):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(name, {session.get_inputs()[0].name: images})


def test_simcc_is_decoded_as_mmpose_does(golden):
    found = np.load(golden / "simcc.npz")
    x, y = graphs.simcc_bins()
    xy, score = decode_simcc(torch.from_numpy(x), torch.from_numpy(y), split_ratio=2.0)
    np.testing.assert_array_equal(xy.numpy(), found["xy_px"])
    np.testing.assert_array_equal(score.numpy(), found["score"])


def test_rtmpose_is_known_by_its_outputs(tmp_path):
    path = graphs.write_simcc(tmp_path / "rtmpose.onnx")
    network = load(path)
    spec = network.input_spec
    assert spec.size_wh == (192, 256) and spec.colour == "rgb" and not spec.udp and network.has_flip_test
    images = spec.normalise(crops())
    output = predict(network, images)
    x, y = bare(path, images.contiguous(memory_format=torch.contiguous_format).numpy())
    np.testing.assert_allclose(output.xy_px[..., 0].numpy(), x.argmax(-1) / 2, atol=0.6)  # batches of gemm may tie
    np.testing.assert_allclose(output.raw_score.numpy(), np.minimum(x.max(-1), y.max(-1)), atol=1e-5)
    assert output.feature.shape == (3, 24, 8, 6)
    grey = crops()
    grey = torch.maximum(grey, grey.flip(2))  # mirrored, it is itself: pairs share their scores
    scores = predict(network, spec.normalise(grey), COCO17.flip_pairs).raw_score
    assert scores[:, 1] == pytest.approx(scores[:, 2], abs=1e-5) or COCO17.flip_pairs[0] != (1, 2)


def test_heatmaps_by_preset_and_with_a_fixed_batch(tmp_path):
    path = graphs.write_heatmaps(tmp_path / "vitpose.onnx")
    with pytest.raises(InputError, match=r'output 2x17x64x48.*write preset = "vitpose" or'):
        load(path)
    (tmp_path / "vitpose.toml").write_text('preset = "vitpose"\ntarget_cells = 2.0\n')
    network = load(path, decoding="argmax")
    images = network.input_spec.normalise(crops())
    output = predict(network, images)
    assert output.heatmaps is not None and output.feature.shape == (3, 16, 64, 48)
    pixels = images.contiguous(memory_format=torch.contiguous_format).numpy()
    whole = np.concatenate([bare(path, pixels[:2])[0], bare(path, pixels[[2, 2]])[0][:1]])
    np.testing.assert_allclose(output.heatmaps.numpy(), whole, atol=1e-5)
    assert network.cell_px == 4.0 and network.target_cells == 2.0 and network.input_spec.udp
    assert load(path, decoding="expected-oks").decoding == "expected-oks"
    assert predict(network, images, COCO17.flip_pairs).raw_score.shape == (3, 17)


def test_movenet_takes_whole_numbers_by_pixel(tmp_path):
    path = graphs.write_movenet(tmp_path / "movenet.onnx")
    network = load(path)
    pixels = crops(192, 192)
    output = predict(network, network.input_spec.normalise(pixels), COCO17.flip_pairs)
    for row in range(3):
        (found,) = bare(path, pixels[row : row + 1].numpy().astype(np.int32))
        np.testing.assert_allclose(output.xy_px[row].numpy(), found[0, 0, :, 1::-1] * 192, atol=1e-3)
        np.testing.assert_allclose(output.raw_score[row].numpy(), found[0, 0, :, 2], atol=1e-6)
    assert not network.has_flip_test and network.instance_score == "mean" and output.feature.shape == (3, 12)


def test_identity_follows_file_and_feature(tmp_path):
    path = graphs.write_simcc(tmp_path / "a.onnx")
    usual = load(path).identity
    (tmp_path / "b.toml").write_text('preset = "rtmpose"\nfeature = "stem"\n')
    other = load(path, network_config=tmp_path / "b.toml")
    assert other.identity != usual == load(path).identity
    np.testing.assert_array_less(predict(other, other.input_spec.normalise(crops())).feature.min().item(), 0.0)


def test_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    graphs.write_simcc(tmp_path / "rtmpose.onnx")
    for seed, (split, count) in enumerate((("calibration", 12), ("validation", 4), ("test", 6))):
        write_stick_figures(tmp_path, split, count, seed, first_id=100 * seed + 1)
    assert main(["networks", "--inspect", "rtmpose.onnx"]) == 0
    told = capsys.readouterr().out
    assert "simcc_x  ?x17x384" in told and "tokens  ?x17x48" in told and "feature  ?x24x8x6" in told
    network = ["--network", "rtmpose.onnx", "--threads", "1"]
    assert main(["detect", *network, "--images", "images/test", "--out", "found.json", "--features", "f"]) == 0
    assert len(json.loads((tmp_path / "found.json").read_text())) == 6
    assert np.load(tmp_path / "f" / "feature.npy").shape == (6, 24, 8, 6)
    data = ["--data", ".", "--cache", "cache", "--views", "cut"]
    assert main(["calibrate", *network, *data, "--head", "conv", "--out", "ccnet.safetensors"]) == 0
    assert load_ccnet("ccnet.safetensors").spec.network_hash == load("rtmpose.onnx").identity
    assert main(["ablate", *network, *data, "--bootstrap", "5", "--no-flip", "--out", "ablation"]) == 0
    assert "CCNet local" in capsys.readouterr().out


def _text(path):
    path.write_text("<html>404</html>")
    return path


@pytest.mark.parametrize(
    ("write", "toml", "sentence"),
    [
        (_text, "", "is no ONNX model"),
        (lambda path: graphs.write_heatmaps(path, domain="mmdeploy"), "", "uses operator mmdeploy::Relu"),
        (
            lambda path: graphs.write_heatmaps(path, (1, 3, "h", "w")),
            'preset = "vitpose"',
            r"leaves the images' size open: write input_size = \[width, height\]",
        ),
        (
            graphs.write_heatmaps,
            'preset = "vitpose"\ninput_size = [288, 384]',
            "takes images of 192x256 and input_size",
        ),
        (graphs.write_heatmaps, 'preset = "rtmpose"', "which tensor is simcc_x"),
        (graphs.write_heatmaps, 'preset = "movenet"', r"output \(keypoints\) has shape 17x64x48 per person where 17x3"),
        (graphs.write_heatmaps, 'preset = "vitposse"', "there is no preset 'vitposse'"),
        (graphs.write_heatmaps, 'preset = "vitpose"\nfeature = "x"', "no tensor 'x' for feature"),
        (graphs.write_heatmaps, 'preset = "vitpose"\nmeans = [1, 2, 3]', "there is no key 'means'"),
        (graphs.write_heatmaps, 'preset = "vitpose"\nstd = [1, 0, 3]', r"std is \[1, 0, 3\]; it is 3 numbers above 0"),
        (graphs.write_heatmaps, "preset = vitpose", "is no TOML"),
        (
            lambda path: graphs.write_simcc(path, 14),
            "",
            r"simcc_x \(simcc_x\) has shape 14x384 per person where 17x384",
        ),
        (graphs.write_simcc, 'preset = "rtmpose"\nsplit_ratio = 3', "where 17x576 .split_ratio times the side"),
        (lambda path: graphs.write_with_external_weights(path, "../weights.bin"), "", "outside its folder"),
        (lambda path: graphs.write_with_external_weights(path, "/etc/passwd"), "", "outside its folder"),
        (lambda path: graphs.write_with_external_weights(path, "gone.bin"), "", "that file is not beside it"),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path, capsys, write, toml, sentence):
    write_stick_figures(tmp_path, "test", 1, 0)
    (tmp_path / "m").mkdir()
    path = write(tmp_path / "m" / "model.onnx")
    if toml:
        path.with_suffix(".toml").write_text(toml)
    images, out = str(tmp_path / "images" / "test"), tmp_path / "found.json"
    assert main(["detect", "--network", str(path), "--images", images, "--out", str(out)]) == 2
    message = capsys.readouterr().err.strip()
    assert len(message.splitlines()) == 1
    with pytest.raises(InputError, match=sentence):
        raise InputError(message)
    assert not out.exists()


def test_external_weights_inside_the_folder_are_read(tmp_path):
    path = graphs.write_with_external_weights(tmp_path / "model.onnx", "weights.bin")
    (tmp_path / "model.toml").write_text('preset = "vitpose"')
    plain = graphs.write_heatmaps(tmp_path / "plain.onnx")
    (tmp_path / "plain.toml").write_text('preset = "vitpose"')
    images = load(path).input_spec.normalise(crops())
    assert torch.equal(predict(load(path), images).heatmaps, predict(load(plain), images).heatmaps)
    (tmp_path / "weights.bin").write_bytes((tmp_path / "weights.bin").read_bytes()[:-4])
    with pytest.raises(InputError, match="shorter than the weights"):
        load(path)
