"""ONNX files: read without trusting them, what lies inside, and sessions of onnxruntime on them.

A file is checked before onnxruntime sees it: weights outside the file stay inside its folder, operators are those that
onnxruntime brings along. Any inner tensor can be made an output.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pose2d.errors import InputError
from pose2d.files.storage import require_file, sha256

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TensorProto

_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
_LARGEST = 2**31 - 1
_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "FusedConv")
_FEATURE_CHANNELS = 8
Shape = tuple[int | None, ...]
"""Lengths of axes; None where a file leaves one open."""


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX model that was checked.

    Attributes:
        path: of the file.
        model: with the weights of all its files.
        files: the model's and those of its external data.
        shapes: of every tensor whose rank is known, by name.
    """

    path: Path
    model: ModelProto
    files: tuple[Path, ...]
    shapes: dict[str, Shape]

    @property
    def inputs(self) -> list[str]:
        """Names of what has to be given (initial values that count as inputs in old files do not)."""
        given = {tensor.name for tensor in self.model.graph.initializer}
        return [value.name for value in self.model.graph.input if value.name not in given]

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs."""
        return [value.name for value in self.model.graph.output]

    @property
    def metadata(self) -> dict[str, str]:
        """What was written beside the graph."""
        return {entry.key: entry.value for entry in self.model.metadata_props}

    def hashes(self) -> str:
        """SHA-256 of all its files, in one word."""
        return " ".join(sha256(file) for file in self.files)

    def require(self, name: str, what: str) -> str:
        """The name of a tensor of the graph, back.

        Raises:
            InputError: the graph has none of that name.
        """
        made = {output for node in self.model.graph.node for output in node.output}
        if name not in made:
            raise InputError(
                f"{self.path}: no tensor {name!r} for {what}; outputs are {', '.join(self.outputs)}, and "
                "`networks --inspect` lists inner ones"
            )
        return name


def read_onnx(path: str | Path) -> OnnxFile:
    """Read and check an ONNX model, with its external data.

    Raises:
        InputError: it is none, or damaged; it has operators of its own; its weights lie outside its folder or are
            missing; or the extra is not installed.
    """
    path = require_file(path)
    onnx = import_extra("onnx")
    if path.stat().st_size > _LARGEST:
        raise InputError(f"{path} has more than 2 GB: keep its weights in external data beside it")
    try:
        model = onnx.load_model(path, load_external_data=False)
    except Exception as error:  # protobuf's own kinds of errors
        raise InputError(f"{path} is no ONNX model, or is cut short ({type(error).__name__})") from None
    if not model.ir_version or not model.opset_import or not model.graph.node or not model.graph.output:
        raise InputError(f"{path} is no ONNX model: it holds no graph")
    _check_operators(path, model)
    external = _check_external(path, model)
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except Exception as error:
        raise InputError(f"{path}: its external data cannot be read ({str(error).splitlines()[0]})") from None
    try:
        shapes = _shapes(onnx.shape_inference.infer_shapes(model))
    except Exception:  # shapes of inner tensors are then not known, and those of the outputs are
        shapes = _shapes(model)
    return OnnxFile(path, model, (path, *external), shapes)


def import_extra(name: str) -> Any:
    """A module that only ONNX networks need.

    Raises:
        InputError: it is not installed.
    """
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise InputError(f"ONNX networks need {name}: pip install 'calibrated-pose[onnx]'") from None


def _check_operators(path: Path, model: ModelProto) -> None:
    known = {*_DOMAINS, *(function.domain for function in model.functions)}
    for graph in _graphs(model.graph):
        for node in graph.node:
            if node.domain not in known:
                raise InputError(
                    f"{path} uses operator {node.domain}::{node.op_type}, which onnxruntime lacks: export "
                    "it without custom operators (of mmdeploy, for onnxruntime without its plugins)"
                )


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """A graph and those inside it (branches, loops)."""
    waiting = [graph]
    while waiting:
        one = waiting.pop()
        yield one
        for node in one.node:
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.HasField("g") else []
                waiting += attribute.graphs


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    for graph in _graphs(model.graph):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    nodes = [node for graph in _graphs(model.graph) for node in graph.node]
    nodes += [node for function in model.functions for node in function.node]
    for node in nodes:
        for attribute in node.attribute:
            yield from [attribute.t] if attribute.HasField("t") else []
            yield from attribute.tensors


def _check_external(path: Path, model: ModelProto) -> list[Path]:
    """Files of weights beside the model; refused when one is not inside the model's folder."""
    folder = path.parent.resolve()
    found: dict[Path, None] = {}
    for tensor in _tensors(model):
        if tensor.data_location != 1:  # EXTERNAL
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        file = (folder / location).resolve()
        if not location or Path(location).is_absolute() or not file.is_relative_to(folder):
            raise InputError(
                f"{path}: the weights of {tensor.name!r} are to be read from {location!r}, outside its folder"
            )
        if not file.is_file():
            raise InputError(f"{path}: its weights are in {location}, and that file is not beside it")
        offset, length = entries.get("offset", "0"), entries.get("length", "0")
        if not (offset.isdigit() and length.isdigit() and int(offset) + int(length) <= file.stat().st_size):
            raise InputError(f"{path}: {location} is shorter than the weights of {tensor.name!r}: copy it again")
        found[file] = None
    return list(found)


def _shapes(model: ModelProto) -> dict[str, Shape]:
    graph = model.graph
    shapes: dict[str, Shape] = {}
    for value in [*graph.input, *graph.value_info, *graph.output]:
        kind = value.type.tensor_type
        if kind.HasField("shape"):
            shapes[value.name] = tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim)
    return shapes


def feature_candidates(file: OnnxFile, outputs: Sequence[str] = ()) -> list[tuple[str, Shape]]:
    """What feeds the last layers: maps, vectors and tokens that a CCNet can read, nearest to the outputs first.

    Args:
        file: the network.
        outputs: to walk back from; all of the file's by default.
    """
    made_by = {output: node for node in file.model.graph.node for output in node.output}
    found: dict[str, Shape] = {}
    seen, level = set(), list(outputs or file.outputs)
    while level:
        following: list[str] = []
        for name in level:
            node = made_by.get(name)
            if node is None or name in seen:
                continue
            seen.add(name)
            source = node.input[0] if node.input else ""
            shape = file.shapes.get(source, ())
            if node.op_type in _LAYERS and source in made_by and _is_feature(shape):
                found.setdefault(source, shape)
            following += node.input
        level = following
    return list(found.items())


def _is_feature(shape: Shape) -> bool:
    if len(shape) not in (2, 3, 4) or any(length is None for length in shape[1:]):
        return False
    channels = shape[1] if len(shape) in (2, 4) else shape[2]
    return (channels or 0) >= _FEATURE_CHANNELS


class OnnxSession:
    """A session of onnxruntime that takes normalised images and returns named tensors.

    Args:
        file: the network.
        outputs: tensors to return, inner ones too.
        layout: of its images, "nchw" or "nhwc".

    Raises:
        InputError: onnxruntime cannot run the model.
    """

    def __init__(self, file: OnnxFile, outputs: Sequence[str], layout: str) -> None:
        self.file, self.outputs, self.layout = file, list(dict.fromkeys(outputs)), layout
        self.batch = (file.shapes.get(file.inputs[0]) or (None,))[0]
        self._content = _with_outputs(file, self.outputs)
        self._start("CPUExecutionProvider")

    def _start(self, provider: str) -> None:
        runtime = import_extra("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = runtime.InferenceSession(self._content, options, providers=[provider])
        except Exception as error:  # onnxruntime's own kinds of errors
            raise InputError(f"{self.file.path}: onnxruntime cannot run it: {str(error).splitlines()[0]}") from None
        image = self._session.get_inputs()[0]
        self._dtype = _DTYPES.get(image.type)
        if self._dtype is None:
            raise InputError(f"{self.file.path}: its input is {image.type}; images are floats or whole numbers")
        self._names = [value.name for value in self._session.get_inputs()]

    def move_to(self, device: torch.device) -> None:
        """Run on a GPU where onnxruntime has been built for one; images lie in main memory all the same."""
        if device.type == "cuda" and "CUDAExecutionProvider" in import_extra("onnxruntime").get_available_providers():
            self._start("CUDAExecutionProvider")

    def run(self, images: torch.Tensor, *further: np.ndarray) -> dict[str, torch.Tensor]:
        """The outputs by name, floats as float32.

        Args:
            images: (b, 3, h, w), normalised.
            further: what the other inputs get, rows like the images.
        """
        pixels = images.permute(0, 2, 3, 1) if self.layout == "nhwc" else images
        array = pixels.contiguous(memory_format=torch.contiguous_format).cpu().numpy()
        assert self._dtype is not None
        array = np.rint(array).astype(self._dtype) if np.issubdtype(self._dtype, np.integer) else array
        inputs = [array.astype(self._dtype, copy=False), *further]
        size = self.batch or len(array)
        parts = [
            self._run_part([values[start : start + size] for values in inputs], size)
            for start in range(0, len(array), size)
        ]
        return {
            name: torch.from_numpy(np.concatenate([part[place] for part in parts]))
            for place, name in enumerate(self.outputs)
        }

    def _run_part(self, inputs: list[np.ndarray], size: int) -> list[np.ndarray]:
        count = len(inputs[0])
        if count < size:  # a model of a fixed batch gets its last rows more than once
            inputs = [np.concatenate([values, np.repeat(values[-1:], size - count, axis=0)]) for values in inputs]
        found = self._session.run(self.outputs, dict(zip(self._names, inputs, strict=True)))
        return [value[:count].astype(np.float32, copy=False) for value in found]


_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
}


def _with_outputs(file: OnnxFile, names: Sequence[str]) -> bytes:
    """The model with further tensors as outputs."""
    onnx = import_extra("onnx")
    missing = [name for name in names if name not in file.outputs]
    try:
        if not missing:
            return bytes(file.model.SerializeToString())
        model = onnx.ModelProto()
        model.CopyFrom(file.model)
        for name in missing:
            model.graph.output.add().name = name
        return bytes(model.SerializeToString())
    except ValueError:
        raise InputError(
            f"{file.path}: with its weights it has more than 2 GB, which one session cannot hold"
        ) from None
