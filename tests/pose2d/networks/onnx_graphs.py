"""ONNX pose networks made by hand, small enough to read: each as its kind of export gives it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH, HEIGHT = 192, 256


def simcc_bins() -> tuple[np.ndarray, np.ndarray]:
    """Bins of five persons with 17 keypoints: maps without a positive value and ties among them."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 0.3, (5, 17, 384)).astype(np.float32)
    y = rng.normal(0, 0.3, (5, 17, 512)).astype(np.float32)
    x[0, 0] = -abs(x[0, 0]) - 0.01
    y[1, 3] = 0
    x[2, 4] = 0
    x[3, 5, 10] = x[3, 5, 20] = 3.0
    y *= np.linspace(0.5, 1.5, 17, dtype=np.float32)[:, None]
    return x, y


def _weights(name: str, *shape: int) -> TensorProto:
    rng = np.random.default_rng(sum(map(ord, name)))
    return numpy_helper.from_array(rng.normal(0, 0.2, shape).astype(np.float32), name)


def _value(name: str, shape: Sequence[int | str], kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _save(
    path: Path,
    nodes: list[Any],
    image: Sequence[int | str],
    outputs: Mapping[str, Sequence[Any]],
    weights: list[TensorProto],
) -> Path:
    made = [_value(name, shape) for name, shape in outputs.items()]
    graph = helper.make_graph(nodes, "pose", [_value("input", image)], made, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def write_simcc(path: Path, keypoints: int = 17, names: tuple[str, str] = ("simcc_x", "simcc_y")) -> Path:
    """As mmdeploy exports RTMPose: a map of each keypoint, flattened, read by one linear layer per axis."""
    nodes = [
        helper.make_node("Conv", ["input", "w0"], ["stem"], strides=[32, 32]),
        helper.make_node("Relu", ["stem"], ["feature"]),
        helper.make_node("Conv", ["feature", "w1"], ["maps"]),
        helper.make_node("Reshape", ["maps", "flat"], ["tokens"]),
        helper.make_node("MatMul", ["tokens", "wx"], [names[0]]),
        helper.make_node("MatMul", ["tokens", "wy"], [names[1]]),
    ]
    weights = [
        _weights("w0", 24, 3, 32, 32),
        _weights("w1", keypoints, 24, 1, 1),
        numpy_helper.from_array(np.array([0, keypoints, 48]), "flat"),
        _weights("wx", 48, 2 * WIDTH),
        _weights("wy", 48, 2 * HEIGHT),
    ]
    outputs = {names[0]: ["batch", keypoints, 2 * WIDTH], names[1]: ["batch", keypoints, 2 * HEIGHT]}
    return _save(path, nodes, ["batch", 3, HEIGHT, WIDTH], outputs, weights)


def write_heatmaps(path: Path, image: tuple[int | str, ...] = (2, 3, HEIGHT, WIDTH), domain: str = "") -> Path:
    """As ViTPose is exported: one output of heatmaps; of a fixed batch."""
    nodes = [
        helper.make_node("Conv", ["input", "w0"], ["stem"], strides=[4, 4]),
        helper.make_node("Relu", ["stem"], ["feature"], domain=domain),
        helper.make_node("Conv", ["feature", "w1"], ["output"]),
    ]
    weights = [_weights("w0", 16, 3, 4, 4), _weights("w1", 17, 16, 1, 1)]
    return _save(path, nodes, list(image), {"output": [image[0], 17, HEIGHT // 4, WIDTH // 4]}, weights)


def write_movenet(path: Path) -> Path:
    """As Google's MoveNet: whole numbers by pixel, one person, y, x and score as fractions."""
    nodes = [
        helper.make_node("Cast", ["input"], ["image"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["mean", "w0"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "w1"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["fractions"]),
        helper.make_node("Reshape", ["fractions", "shape"], ["output_0"]),
    ]
    weights = [
        _weights("w0", 3, 12),
        numpy_helper.from_array(_scaled("w1", 12, 51), "w1"),
        numpy_helper.from_array(np.array([1, 1, 17, 3]), "shape"),
    ]
    graph = helper.make_graph(
        nodes,
        "movenet",
        [_value("input", [1, 192, 192, 3], TensorProto.INT32)],
        [_value("output_0", [1, 1, 17, 3])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def _scaled(name: str, *shape: int) -> np.ndarray:
    return numpy_helper.to_array(_weights(name, *shape)) * np.float32(0.02)


def write_with_external_weights(path: Path, location: str) -> Path:
    """The heatmap network with its weights in another file, which is said to be at `location`."""
    write_heatmaps(path)
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())
    return path
