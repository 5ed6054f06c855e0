"""Loading checkpoints of every layout, and refusing what does not fit or is not safe."""

import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pose2d.errors import InputError
from pose2d.networks.catalogue import build_network
from pose2d.networks.checkpoint_layouts import vitpose_names
from pose2d.networks.checkpoints import convert_checkpoint, fill_network, load_checkpoint, read_tensors
from pose2d.networks.hrnet import HRNet
from pose2d.networks.ipr import IPR
from pose2d.networks.sbl import SBL
from pose2d.networks.vitpose import ViTPose

State = dict[str, Tensor]


def renamed(state: State, *rules: tuple[str, str]) -> State:
    """Entries under the name that the first matching rule gives."""
    result = {}
    for name, tensor in state.items():
        for pattern, replacement in rules:
            if re.match(pattern, name):
                name = re.sub(pattern, replacement, name, count=1)
                break
        result[name] = tensor
    return result


def mmpose(head: str) -> Callable[[State], State]:
    def layout(state: State) -> State:
        return renamed(state, (r"(deconv_layers|final_layer)\.", rf"{head}.\1."), (r"", "backbone."))

    return layout


def small_sbl(keypoints: int = 17) -> SBL:
    network = SBL(18, keypoints, 8, 16)
    for name, tensor in network.state_dict().items():
        if "running" in name:
            tensor.uniform_(0.5, 1.5)
    return network


def saved(state: object, path: Path, legacy: bool = False) -> Path:
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    return path


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    other = b.state_dict()
    return all(torch.equal(tensor, other[name]) for name, tensor in a.state_dict().items())


LAYOUTS: dict[str, tuple[Callable[[State], object], str]] = {
    "official": (lambda state: state, "bgr"),
    "official, in data parallel": (lambda state: {f"module.{name}": value for name, value in state.items()}, "bgr"),
    "official training state": (lambda state: {"epoch": 3, "state_dict": state, "optimizer": {"lr": 0.1}}, "bgr"),
    "official, before counters": (
        lambda state: {name: value for name, value in state.items() if "num_batches" not in name},
        "bgr",
    ),
    "mmpose 0.x": (lambda state: {"meta": {"epoch": 210}, "state_dict": mmpose("keypoint_head")(state)}, "rgb"),
    "mmpose 0.x, old head": (
        lambda state: renamed(mmpose("keypoint_head")(state), (r"(.*final_layer)\.", r"\1.0.")),
        "rgb",
    ),
    "mmpose 1.x": (
        lambda state: {"state_dict": {**mmpose("head")(state), "data_preprocessor.mean": torch.zeros(3)}},
        "rgb",
    ),
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_sbl_layouts(layout: str, legacy: bool, tmp_path: Path) -> None:
    source, target = small_sbl(), small_sbl()
    convert, colour = LAYOUTS[layout]
    path = saved(convert(dict(source.state_dict())), tmp_path / "a.pth.tar", legacy)
    result = load_checkpoint(path, target)
    assert same(source, target)
    assert target.input_spec.colour == colour
    assert result.layout == ("SBL (official)" if colour == "bgr" else "SBL (mmpose)")
    assert result.entries == len(source.state_dict()) and len(result.sha256) == 64


@pytest.mark.parametrize("head", ["", "keypoint_head", "head"])
def test_hrnet_layouts(head: str, tmp_path: Path) -> None:
    source, target = HRNet(8, 5), HRNet(8, 5)
    rule = (r"backbone\.", "") if not head else (r"final_layer\.", f"{head}.final_layer.")
    path = saved(renamed(dict(source.state_dict()), rule), tmp_path / "a.pth")
    load_checkpoint(path, target)
    assert same(source, target)


@pytest.mark.parametrize("nested", [False, True])
def test_ipr_layouts(nested: bool, tmp_path: Path) -> None:
    source, target = IPR(small_sbl()), IPR(small_sbl())
    trunk = dict(source.trunk.state_dict())
    state = mmpose("head.simplebaseline_head" if nested else "head")(trunk)
    state |= {"head.linspace_x": torch.zeros(1, 1, 1, 48), "head.linspace_y": torch.zeros(1, 1, 64, 1)}
    load_checkpoint(saved({"state_dict": state}, tmp_path / "a.pth"), target)
    assert same(source, target)


def test_rle_of_mmpose_is_read_with_its_conventions(tmp_path: Path) -> None:
    network = build_network("rle-small", 3).eval()
    state = renamed(dict(network.state_dict()), (r"preact\.", "backbone."), (r"flow\.", "head.loss_module.flow_model."))
    state = {name: value for name, value in state.items() if not name.startswith("fc_")}
    weight, bias = torch.randn(12, 256), torch.randn(12)
    state |= {"head.fc.weight": weight, "head.fc.bias": bias, "head.loss_module.flow_model.loc": torch.zeros(2)}
    load_checkpoint(saved({"state_dict": state}, tmp_path / "a.pth"), network)
    images = torch.randn(2, 3, 128, 96)
    with torch.inference_mode():
        raw = network(images)
        # mmpose's head: one layer, viewed (k, 4) as x, y, s_x, s_y; sigmoid on the spreads alone.
        plain = (network.preact(images).mean((2, 3)) @ weight.t() + bias).view(2, 3, 4)
    assert torch.allclose(raw.xy, plain[..., :2], atol=1e-5)
    assert torch.allclose(raw.sigma, plain[..., 2:].sigmoid(), atol=1e-5)
    assert network.input_spec.mean == (0.485, 0.456, 0.406)


def vit_on_meta() -> ViTPose:
    with torch.device("meta"):
        return ViTPose("s")


@pytest.mark.parametrize("origin", ["mmpose 1.x", "transformers"])
def test_vitpose_layouts_have_the_names_and_shapes_of_the_network(origin: str) -> None:
    expected = dict(vit_on_meta().state_dict())
    state = dict(expected)
    if origin == "mmpose 1.x":
        block = r"backbone\.encoder\.layer\.(\d+)\."
        for layer in range(12):
            for kind in ("weight", "bias"):
                parts = [
                    state.pop(f"backbone.encoder.layer.{layer}.attention.attention.{part}.{kind}")
                    for part in ("query", "key", "value")
                ]
                state[f"backbone.layers.{layer}.attn.qkv.{kind}"] = torch.cat(parts)
        state = renamed(
            state,
            (r"backbone\.embeddings\.position_embeddings", "backbone.pos_embed"),
            (r"backbone\.embeddings\.patch_embeddings\.projection", "backbone.patch_embed.projection"),
            (r"backbone\.layernorm\.", "backbone.ln1."),
            (block + r"layernorm_before", r"backbone.layers.\1.ln1"),
            (block + r"layernorm_after", r"backbone.layers.\1.ln2"),
            (block + r"attention\.output\.dense", r"backbone.layers.\1.attn.proj"),
            (block + r"mlp\.fc1", r"backbone.layers.\1.ffn.layers.0.0"),
            (block + r"mlp\.fc2", r"backbone.layers.\1.ffn.layers.1"),
            (r"head\.deconv1", "head.deconv_layers.0"),
            (r"head\.batchnorm1", "head.deconv_layers.1"),
            (r"head\.deconv2", "head.deconv_layers.3"),
            (r"head\.batchnorm2", "head.deconv_layers.4"),
            (r"head\.conv", "head.final_layer"),
        )
        state["backbone.pos_embed"] = state["backbone.pos_embed"][:, 1:]
    translated = vitpose_names(state, 0)
    assert {name: value.shape for name, value in translated.items()} == {n: v.shape for n, v in expected.items()}


def test_vitpose_plus_takes_one_expert_and_its_head() -> None:
    block = "backbone.blocks.3.mlp."
    state = {
        block + "fc2.weight": torch.full((6, 4), 9.0),
        block + "fc2.bias": torch.full((6,), 9.0),
        "keypoint_head.final_layer.bias": torch.full((17,), -1.0),
    }
    for expert in range(3):
        state[block + f"experts.{expert}.weight"] = torch.full((2, 4), float(expert))
        state[block + f"experts.{expert}.bias"] = torch.full((2,), float(expert))
    for head in range(2):
        state[f"associate_keypoint_heads.{head}.final_layer.bias"] = torch.full((16,), float(head))
    coco, second = vitpose_names(state, 0), vitpose_names(state, 2)
    name = "backbone.encoder.layer.3.mlp.fc2.bias"
    assert coco[name].tolist() == [9.0] * 6 + [0.0] * 2 and second[name].tolist() == [9.0] * 6 + [2.0] * 2
    assert coco["head.conv.bias"].tolist() == [-1.0] * 17 and second["head.conv.bias"].tolist() == [1.0] * 16
    assert len(coco) == len(second) == 3


def test_own_checkpoints_come_back(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    for name in ("rle-small", "ipr-small", "sbl-small"):
        source, target = build_network(name), build_network(name)
        save_file(source.state_dict(), tmp_path / "a.safetensors")
        load_checkpoint(tmp_path / "a.safetensors", target)
        assert same(source, target)


class Malicious:
    """Unpickled, it would leave a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_malicious_pickle_does_not_run_and_its_tensors_can_be_saved(legacy: bool, tmp_path: Path) -> None:
    mark, source, target = tmp_path / "it_ran", small_sbl(), small_sbl()
    contents = {"meta": Malicious(mark), "state_dict": source.state_dict(), "more": [Malicious(mark)]}
    path = saved(contents, tmp_path / "model.pth", legacy)
    with pytest.raises(InputError, match=r"more than tensors .*system.*convert-checkpoint .*model\.safetensors"):
        load_checkpoint(path, target)
    assert not same(source, target)
    count = convert_checkpoint(path, tmp_path / "model.safetensors")
    assert count == len(source.state_dict())
    load_checkpoint(tmp_path / "model.safetensors", target)
    assert same(source, target)
    assert not mark.exists()
    # The pickle is a live one: torch's unsafe loader would run it.
    torch.load(path, weights_only=False)
    assert mark.exists()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.98])
def test_cut_files_are_refused(share: float, legacy: bool, tmp_path: Path) -> None:
    path = saved(small_sbl().state_dict(), tmp_path / "a.pth", legacy)
    os.truncate(path, int(path.stat().st_size * share))
    for action in (
        lambda: load_checkpoint(path, small_sbl()),
        lambda: convert_checkpoint(path, tmp_path / "b.safetensors"),
    ):
        with pytest.raises(InputError, match=r"a\.pth (is empty|cannot be read as a checkpoint)"):
            action()
    assert list(tmp_path.iterdir()) == [path]


def test_a_cut_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = saved(small_sbl().state_dict(), tmp_path / "a.pth")
    whole = tmp_path / "a.safetensors"
    convert_checkpoint(path, whole)
    os.truncate(whole, whole.stat().st_size // 2)
    with pytest.raises(InputError, match="cannot be read as a whole safetensors file"):
        read_tensors(whole)


def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "a.pth"
    text.write_text("<html>404</html>")
    with pytest.raises(InputError, match="web page"):
        read_tensors(text)
    text.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(InputError, match="Git LFS pointer"):
        read_tensors(text)
    text.write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match="cannot be read as a checkpoint"):
        read_tensors(text)
    with pytest.raises(InputError, match="no such file"):
        load_checkpoint(tmp_path / "none.pth", small_sbl())
    with pytest.raises(InputError, match="no tensors under names"):
        load_checkpoint(saved({"epoch": 3}, tmp_path / "b.pth"), small_sbl())
    with pytest.raises(InputError, match="no state dict but a list"):
        load_checkpoint(saved([torch.zeros(2)], tmp_path / "c.pth"), small_sbl())
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        archive.writestr("script/constants.pkl", b"")
    with pytest.raises(InputError, match="TorchScript"):
        convert_checkpoint(tmp_path / "script.pt", tmp_path / "s.safetensors")
    with pytest.raises(InputError, match=r"must end in \.safetensors"):
        convert_checkpoint(tmp_path / "c.pth", tmp_path / "c.pth2")


def test_misfits_are_refused_in_one_sentence_and_leave_the_network_alone(tmp_path: Path) -> None:
    network, before = small_sbl(), small_sbl()
    fill_network(before, dict(network.state_dict()), "copy")

    def refused(state: State, message: str, file: str = "a.pth") -> None:
        with pytest.raises(InputError, match=message) as caught:
            load_checkpoint(saved(state, tmp_path / file), network)
        assert "\n" not in str(caught.value) and file in str(caught.value)
        assert same(network, before)

    state = dict(small_sbl().state_dict())
    refused(dict(small_sbl(16).state_dict()), "is of 16 keypoints, .* built for 17: build it with num_keypoints=16")
    refused(dict(build_network("rle-small").state_dict()), r"holds RLE \(official\), not the SBL network")
    refused(renamed(dict(HRNet(8).state_dict()), (r"backbone\.", "")), r"holds HRNet \(official\), not the SBL network")
    backbone = {name: value for name, value in state.items() if not name.startswith(("deconv", "final"))}
    refused(backbone, "without a pose head|it lacks")
    refused({"words": torch.zeros(3)}, "no pose network that is known here")
    lacking = {name: value for name, value in state.items() if name not in ("conv1.weight", "final_layer.bias")}
    refused(lacking, r"it lacks 2 entries \(conv1.weight, final_layer.bias\)")
    refused({**state, "extra.weight": torch.zeros(1)}, r"has left over 1 entries \(extra.weight\)")
    refused({**state, "conv1.weight": torch.zeros(9, 3, 7, 7)}, r"of other shapes are 1 entries \(conv1.weight\)")
    refused({**state, "bn1.weight": torch.full((8,), float("nan"))}, "bn1.weight is not finite")
    refused(state, "caffe-style", "pose_resnet_18_caffe.pth")


def test_another_input_size_of_vitpose_is_named() -> None:
    state = dict(vit_on_meta().state_dict())
    with torch.device("meta"):
        larger = build_network("vitpose-s", 17, (288, 384))
    with pytest.raises(InputError, match="another input size: it has 192 patches, the ViTPose network 432"):
        fill_network(larger, state, "vit.pth")


@pytest.mark.parametrize(
    "named",
    [
        lambda name: "_orig_mod." + name,
        lambda name: "module._orig_mod." + name,
        lambda name: "model." + name,
        lambda name: "model._orig_mod.module." + name,
        lambda name: name.replace("layer1.", "layer1.module.", 1),
    ],
)
def test_prefixes_of_training_code_are_taken_off(named: Callable[[str], str], tmp_path: Path) -> None:
    source, target = small_sbl(), small_sbl()
    state = {named(name): value for name, value in source.state_dict().items()}
    load_checkpoint(saved({"state_dict": state}, tmp_path / "a.pth"), target)
    assert same(source, target)


def test_running_averages_beside_the_weights_are_left_out(tmp_path: Path) -> None:
    source, target = small_sbl(), small_sbl()
    state = dict(source.state_dict())
    averages = {"ema_" + name.replace(".", "_"): torch.zeros_like(value) for name, value in state.items()}
    load_checkpoint(saved({"state_dict": state | averages}, tmp_path / "a.pth"), target)
    assert same(source, target)
