"""The names under which each code base saved its networks, and their translation into this project's.

Every function here takes a state dict free of wrappers and gives one with the names of the network to be filled, or
with names that will not fit, which :mod:`pose2d.networks.checkpoints` then reports.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

State = dict[str, Tensor]

_DROPPED = ("data_preprocessor.", "backbone.cls_token", "head.linspace_x", "head.linspace_y", "optimizer.")


def identify(state: Mapping[str, Tensor]) -> str:
    """What family of network, and whose layout, a state dict is, as far as its names tell."""

    def has(pattern: str) -> bool:
        return any(re.search(pattern, name) for name in state)

    if has(r"keypoint_head\.transformer\."):
        return "Poseur (official)"
    if has(r"^preact\."):
        return "RLE (official)"
    if has(r"flow_model\."):
        return "RLE (mmpose)"
    if has(r"linspace_x$|simplebaseline_head\."):
        return "IPR (mmpose)"
    if has(r"encoder\.layer\.0\.attention\."):
        return "ViTPose (transformers)"
    if has(r"blocks\.0\.attn\.qkv|^backbone\.layers\.0\.attn\.qkv"):
        return "ViTPose (mmpose)" if has(r"^backbone\.layers\.") else "ViTPose (official)"
    origin = "mmpose" if has(r"^backbone\.") else "official"
    if has(r"stage4\."):
        return f"HRNet ({origin})" if has(r"final_layer") else "HRNet backbone without a pose head"
    if has(r"layer4\."):
        return f"SBL ({origin})" if has(r"deconv_layers\.") else "ResNet backbone without a pose head"
    return "no pose network that is known here"


_ATTRIBUTES = ("model.", "net.", "network.")


def without_prefixes(state: State) -> State:
    """A state dict without what training code puts before its names, in any order and mixture.

    ``module.`` (data parallel), ``_orig_mod.`` (torch.compile) and the attribute of a Lightning module are taken off.
    mmcv's running averages, which stand beside the weights as ``ema_`` and the name with underscores, are left out, as
    mmcv does when it loads a checkpoint.
    """
    state = {_without_wrappers(name): tensor for name, tensor in state.items()}
    averaged = {"ema_" + name.replace(".", "_") for name in state}
    state = {name: tensor for name, tensor in state.items() if name not in averaged}
    for prefix in _ATTRIBUTES:
        if state and all(name.startswith(prefix) for name in state):
            return without_prefixes({name.removeprefix(prefix): tensor for name, tensor in state.items()})
    return state


def _without_wrappers(name: str) -> str:
    parts = [part for part in name.split(".") if part not in ("module", "_orig_mod")]
    return ".".join(parts) or name


def _renamed(state: State, rules: tuple[tuple[str, str], ...]) -> State:
    """Names rewritten by the first rule whose pattern matches at the start."""
    result: State = {}
    for name, tensor in state.items():
        for pattern, replacement in rules:
            new, count = re.subn("^" + pattern, replacement, name, count=1)
            if count:
                name = new
                break
        result[name] = tensor
    return result


def _without(state: State, *prefixes: str) -> State:
    return {name: tensor for name, tensor in state.items() if not name.startswith(prefixes)}


_HEAD = r"(?:keypoint_head|head)\."
_SINGLE_FINAL = (r"final_layer\.\d+\.(weight|bias)$", r"final_layer.\1")


def sbl_names(state: State, expert: int) -> State:
    """SBL from the official names (which are its own) or mmpose's (``backbone``, ``keypoint_head`` or ``head``)."""
    if "IPR" in identify(state):
        return state
    state = _without(state, *_DROPPED)
    return _renamed(_renamed(state, ((r"backbone\.", ""), (_HEAD, ""))), (_SINGLE_FINAL,))


def hrnet_names(state: State, expert: int) -> State:
    """HRNet from the official names (no prefix) or mmpose's."""
    state = _without(state, *_DROPPED)
    if not any(name.startswith("backbone.") for name in state):
        return _renamed(state, ((r"final_layer\.", "final_layer."), (r"(?=.)", "backbone.")))
    return _renamed(_renamed(state, ((_HEAD, ""),)), (_SINGLE_FINAL,))


def ipr_names(state: State, expert: int) -> State:
    """IPR from mmpose's names, nested in ``simplebaseline_head`` or not, or from this project's."""
    if any(name.startswith("trunk.") for name in state):
        return state
    if "IPR" not in identify(state):
        return state
    state = _without(state, *_DROPPED)
    rules = (
        (r"backbone\.", "trunk."),
        (_HEAD + r"(?:simplebaseline_head\.)?(?:conv_layers|deconv_layers)\.", "trunk.deconv_layers."),
    )
    return _renamed(_renamed(state, rules), ((_HEAD + r"(?:simplebaseline_head\.)?", "trunk."),))


def rle_names(state: State, expert: int) -> State:
    """RLE from the official names (which are its own) or mmpose's, whose one layer ``fc`` gives x, y, s_x, s_y."""
    state = _without(state, *_DROPPED)
    if any(name.startswith("preact.") for name in state):
        return state
    result: State = {}
    for name, tensor in _renamed(state, ((r"backbone\.", "preact."), (_HEAD, ""))).items():
        flow = re.fullmatch(r"loss(?:_module)?\.flow_model\.(.*)", name)
        if name in ("fc.weight", "fc.bias") and tensor.shape[0] % 4 == 0:
            rows = tensor.unflatten(0, (-1, 4))
            kind = name.removeprefix("fc.")
            result[f"fc_coord.linear.{kind}"] = rows[:, :2].flatten(0, 1)
            result[f"fc_sigma.linear.{kind}"] = rows[:, 2:].flatten(0, 1)
        elif flow and flow[1] not in ("loc", "cov"):
            result[f"flow.{flow[1]}"] = tensor
        elif not flow:
            result[name] = tensor
    return result


def poseur_names(state: State, expert: int) -> State:
    """Poseur from the official names, which are its own."""
    return _without(state, *_DROPPED)


_VIT_BLOCK = r"backbone\.(?:blocks|layers)\.(\d+)\."
_VIT_RULES = (
    (r"backbone\.pos_embed$", "backbone.embeddings.position_embeddings"),
    (r"backbone\.patch_embed\.(?:proj|projection)\.", "backbone.embeddings.patch_embeddings.projection."),
    (r"backbone\.(?:last_norm|ln1)\.", "backbone.layernorm."),
    (_VIT_BLOCK + r"(?:norm1|ln1)\.", r"backbone.encoder.layer.\1.layernorm_before."),
    (_VIT_BLOCK + r"(?:norm2|ln2)\.", r"backbone.encoder.layer.\1.layernorm_after."),
    (_VIT_BLOCK + r"attn\.proj\.", r"backbone.encoder.layer.\1.attention.output.dense."),
    (_VIT_BLOCK + r"attn\.qkv\.", r"backbone.encoder.layer.\1.attention.attention.qkv."),
    (_VIT_BLOCK + r"ffn\.layers\.0\.0\.", r"backbone.encoder.layer.\1.mlp.fc1."),
    (_VIT_BLOCK + r"ffn\.layers\.1\.", r"backbone.encoder.layer.\1.mlp.fc2."),
    (_VIT_BLOCK + r"mlp\.", r"backbone.encoder.layer.\1.mlp."),
    (_HEAD + r"deconv_layers\.0\.", "head.deconv1."),
    (_HEAD + r"deconv_layers\.1\.", "head.batchnorm1."),
    (_HEAD + r"deconv_layers\.3\.", "head.deconv2."),
    (_HEAD + r"deconv_layers\.4\.", "head.batchnorm2."),
    (_HEAD + r"final_layer\.", "head.conv."),
)


def vitpose_names(state: State, expert: int) -> State:
    """ViTPose from the official names, mmpose's or those of transformers; of ViTPose+ one expert and its head.

    Args:
        state: the state dict.
        expert: which of ViTPose+'s data sets; 0 is COCO. Other checkpoints have one, number 0.
    """
    state = _without(state, *_DROPPED)
    if expert > 0:
        chosen = f"associate_keypoint_heads.{expert - 1}."
        own = {name: tensor for name, tensor in state.items() if not name.startswith("keypoint_head.")}
        state = (
            _renamed(own, ((re.escape(chosen), "keypoint_head."),))
            if any(name.startswith(chosen) for name in own)
            else state
        )
    state = _renamed(_without(state, "associate_keypoint_heads."), _VIT_RULES)
    result: State = {}
    for name, tensor in state.items():
        if ".attention.qkv." in name:
            for part, rows in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                result[name.replace(".qkv.", f".{part}.")] = rows
        elif ".mlp.experts." not in name:
            result[name] = tensor
    return _with_position_of_class_token(_with_expert(result, state, expert))


def _with_expert(result: State, state: State, expert: int) -> State:
    """ViTPose+ cuts the second layer's outputs into a shared part and one of the expert's."""
    for name, tensor in state.items():
        found = re.fullmatch(r"(.*\.mlp)\.experts\.(?:experts\.)?(\d+)\.(weight|bias)", name)
        if found and int(found[2]) == expert:
            shared = f"{found[1]}.fc2.{found[3]}"
            if shared in result:
                result[shared] = torch.cat([result[shared], tensor])
    return result


def _with_position_of_class_token(state: State) -> State:
    """mmpose 1.x stores no position for the class token; the other layouts add that position to all others."""
    name = "backbone.embeddings.position_embeddings"
    positions = state.get(name)
    if positions is not None and positions.ndim == 3 and positions.shape[1] % 2 == 0:
        state[name] = torch.cat([torch.zeros_like(positions[:, :1]), positions], dim=1)
    return state


TRANSLATIONS: dict[str, Callable[[State, int], State]] = {
    "SBL": sbl_names,
    "HRNet": hrnet_names,
    "ViTPose": vitpose_names,
    "RLE": rle_names,
    "IPR": ipr_names,
    "Poseur": poseur_names,
}
"""By the class of the network to be filled; a family without an entry reads its own names only."""
