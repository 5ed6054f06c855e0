"""A small valid file of every format, and mutations that know how the format is built.

Everything is drawn from a seed, so a failure is named by its format and number.
"""

from __future__ import annotations

import io
import json
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

WILD_NUMBERS = [
    0,
    -1,
    1,
    255,
    1 << 31,
    (1 << 63) - 1,
    1 << 64,
    -(1 << 40),
    0.5,
    1e308,
    -1e308,
    float("nan"),
    float("inf"),
]
WILD_VALUES = [None, True, "", "x" * 300, "a\nb", [], {}, [[]], [None], {"a": 1}, "../../x", "1e400", b"bytes".decode()]


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Flip, cut, repeat, overwrite or splice some bytes."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if not changed:
            break
        at, kind = rng.randrange(len(changed)), rng.randrange(7)
        if kind == 0:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF))
        elif kind == 2:
            del changed[at:]
        elif kind == 3:
            del changed[at : at + rng.choice((1, 2, 8, 64))]
        elif kind == 4:
            changed[at:at] = changed[at : at + rng.choice((1, 8, 64))]
        elif kind == 5:
            number = rng.choice((0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 64) - 1))
            form = rng.choice(("<H", "<I", ">I", "<Q", ">H"))
            size = struct.calcsize(form)
            changed[at : at + size] = struct.pack(form, number % (1 << (8 * size)))
        else:
            other = rng.randrange(len(changed))
            changed[at : at + 16] = changed[other : other + 16]
    return bytes(changed)


def mutate_value(value: Any, rng: random.Random) -> Any:
    """Change one leaf, key or length somewhere in nested lists and objects."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        if rng.random() < 0.15:
            return {other: item for other, item in value.items() if other != key}
        return value | {key: mutate_value(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.85:
        at = rng.randrange(len(value))
        if rng.random() < 0.15:
            return value[:at] + value[at + 1 :]
        return [*value[:at], mutate_value(value[at], rng), *value[at + 1 :]]
    return rng.choice(WILD_NUMBERS) if rng.random() < 0.5 else rng.choice(WILD_VALUES)


def mutate_arrays(arrays: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """Give an array another shape, type or wild numbers, or drop it."""
    name = rng.choice(list(arrays))
    array, kind = np.asarray(arrays[name]), rng.randrange(7)
    changed: Any
    if kind == 0:
        return {other: value for other, value in arrays.items() if other != name}
    if kind == 1:
        changed = array.astype(rng.choice(("f4", "f2", "i8", "u1", "U8", "S4", "c8", "?")), copy=True)
    elif kind == 2:
        changed = array.reshape(-1)[: rng.randrange(max(array.size, 1))]
    elif kind == 3:
        changed = np.array(array.reshape(-1)[0] if array.size else 0)
    elif kind == 4 and array.dtype.kind == "f" and array.size:
        changed = array.copy()
        changed.reshape(-1)[rng.randrange(array.size)] = rng.choice((np.nan, np.inf, 1e300, -1e9))
    elif kind == 5:
        changed = array[None]
    else:
        changed = np.zeros((0, *array.shape[1:]), array.dtype)
    return arrays | {name: changed}


def npz(arrays: dict[str, Any]) -> bytes:
    """The bytes of an .npz."""
    buffer = io.BytesIO()
    with np.errstate(all="ignore"):
        np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def sequence() -> dict[str, Any]:
    """A 3DPW sequence of three frames."""
    rng = np.random.default_rng(0)
    poses2d = np.concatenate([rng.uniform(20, 60, (3, 2, 18)), np.ones((3, 1, 18))], axis=1)
    return {
        "sequence": "seq",
        "poses": [rng.normal(size=(3, 72))],
        "trans": [rng.normal(size=(3, 3))],
        "betas": [np.zeros(10)],
        "genders": ["m"],
        "poses2d": [poses2d],
        "campose_valid": [np.ones(3, bool)],
        "cam_poses": np.tile(np.eye(4), (3, 1, 1)),
        "cam_intrinsics": np.array([[100.0, 0, 40], [0, 100, 30], [0, 0, 1]]),
    }


def body() -> dict[str, Any]:
    """Some fields of an SMPL pickle, with a sparse regressor."""
    import scipy.sparse

    rng = np.random.default_rng(0)
    regressor = scipy.sparse.csc_matrix(np.where(rng.random((24, 12)) < 0.2, 0.5, 0.0))
    return {"v_template": rng.normal(size=(12, 3)), "J_regressor": regressor, "f": np.zeros((4, 3), np.uint32)}


def truth_of_two() -> dict[str, Any]:
    """COCO annotations of two persons in two images."""
    images = [{"id": n, "file_name": f"{n:012d}.jpg", "width": 80, "height": 60} for n in (1, 2)]
    person = {"category_id": 1, "keypoints": [20.0, 30.0, 2] * 17, "num_keypoints": 17, "bbox": [5, 5, 40, 50]}
    persons = [person | {"id": n, "image_id": n, "area": 900.0, "iscrowd": 0} for n in (1, 2)]
    return {"images": images, "annotations": persons, "categories": [{"id": 1, "name": "person"}]}


def results() -> list[dict[str, Any]]:
    """COCO results of two persons."""
    entry = {"category_id": 1, "keypoints": [20.0, 30.0, 0.5] * 17, "score": 0.5, "bbox": [5, 5, 40, 50]}
    return [entry | {"image_id": n} for n in (1, 2)]


def mpii() -> list[dict[str, Any]]:
    """MPII's JSON of one person."""
    return [
        {"image": "a.jpg", "center": [40.0, 30.0], "scale": 0.3, "joints": [[20.0, 30.0]] * 16, "joints_vis": [1] * 16}
    ]


def checkpoint(legacy: bool) -> bytes:
    """What torch.save writes of a small state dict."""
    import torch

    buffer = io.BytesIO()
    state = {"state_dict": {"w": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(3)}, "epoch": 1}
    torch.save(state, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def safetensors() -> bytes:
    """Two tensors with metadata."""
    import torch
    from safetensors.torch import save

    return save({"w": torch.ones(2, 3), "b": torch.zeros(3)}, {"regressor": "{}", "ccnet": "{}"})


def image(suffix: str) -> bytes:
    """A small picture."""
    import cv2

    pixels = cv2.resize(np.random.default_rng(0).integers(0, 255, (3, 4, 3), dtype=np.uint8), (40, 30))
    return cv2.imencode(suffix, pixels)[1].tobytes()


def mat() -> bytes:
    """A MATLAB file with head boxes."""
    from scipy.io import savemat

    buffer = io.BytesIO()
    savemat(buffer, {"names": "x", "headboxes_src": np.arange(4.0).reshape(2, 2, 1)}, do_compression=True)
    return buffer.getvalue()


def rezipped(data: bytes, rng: random.Random) -> bytes:
    """An archive with one member's bytes, name or compression changed, and a directory that fits again."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(buffer, "w") as target:
        members = source.infolist()
        chosen = rng.choice(members)
        for member in members:
            name, content, packing = member.filename, source.read(member), member.compress_type
            if member is chosen:
                kind = rng.randrange(5)
                if kind == 0:
                    packing = rng.choice(
                        (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
                    )
                elif kind == 1:
                    name = rng.choice(("x", "../x", "a/b/c", name + ".npy", name.upper(), "a" * 300))
                elif kind == 2:
                    continue
                else:
                    content = mutate_bytes(content, rng)
            target.writestr(name, content, packing)
    return buffer.getvalue()


Generator = Callable[[random.Random], bytes]


def _of_bytes(valid: bytes) -> Generator:
    return lambda rng: mutate_bytes(valid, rng)


def _of_zip(valid: bytes) -> Generator:
    return lambda rng: rezipped(valid, rng) if rng.random() < 0.6 else mutate_bytes(valid, rng)


def _of_json(valid: Any) -> Generator:
    def generate(rng: random.Random) -> bytes:
        text = json.dumps(mutate_value(valid, rng)).encode()
        return text if rng.random() < 0.7 else mutate_bytes(text, rng)

    return generate


def _of_pickle(valid: dict[str, Any]) -> Generator:
    def generate(rng: random.Random) -> bytes:
        value: Any = valid
        if rng.random() < 0.5:
            name = rng.choice(list(valid))
            wild = rng.choice(
                (*WILD_NUMBERS, *WILD_VALUES, np.zeros((2, 2)), np.array(1.0), [[1.0], [1.0, 2.0]], 10**90)
            )
            value = valid | {name: wild if rng.random() < 0.5 else [wild]}
        data = pickle.dumps(value, rng.randrange(5))
        return data if value is not valid else mutate_bytes(data, rng)

    return generate


def _of_arrays(valid: dict[str, Any]) -> Generator:
    whole = npz(valid)

    def generate(rng: random.Random) -> bytes:
        kind = rng.random()
        if kind < 0.5:
            try:
                with np.errstate(all="ignore"):
                    return npz(mutate_arrays(valid, rng))
            except (ValueError, TypeError, IndexError):
                return mutate_bytes(whole, rng)
        return rezipped(whole, rng) if kind < 0.8 else mutate_bytes(whole, rng)

    return generate


def generators() -> dict[str, Generator]:
    """A generator of damaged files for every format, by name."""
    rng = np.random.default_rng(0)
    initial: dict[str, Any] = {
        "poses": rng.normal(size=(3, 72)),
        "betas": np.zeros((3, 10)),
        "translation": np.ones((3, 3)),
    }
    initial["frame_ids"] = np.arange(3)
    return {
        "sequence.pkl": _of_pickle(sequence()),
        "body.pkl": _of_pickle(body()),
        "annotations.json": _of_json(truth_of_two()),
        "results.json": _of_json(results()),
        "mpii.json": _of_json(mpii()),
        "initial.npz": _of_arrays(initial),
        "zip.pth": _of_zip(checkpoint(legacy=False)),
        "legacy.pth": _of_bytes(checkpoint(legacy=True)),
        "a.safetensors": _of_bytes(safetensors()),
        "a.jpg": _of_bytes(image(".jpg")),
        "a.png": _of_bytes(image(".png")),
        "a.webp": _of_bytes(image(".webp")),
        "a.mat": _of_bytes(mat()),
    }
