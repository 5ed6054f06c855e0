"""Checkpoints are read without torch's loaders: what torch.save writes comes back, and nothing else is believed."""

import io
import pickle
import struct
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pose2d.errors import InputError
from pose2d.files.safetensor_files import read_safetensors
from pose2d.files.torch_files import ForeignObjectError, read_torch_file


def saved(value: object, path: Path, legacy: bool) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=not legacy)
    return path


def zipped(path: Path, program: bytes, records: dict[str, bytes] | None = None, **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("a/data.pkl", program)
        for name, content in (records or {}).items():
            archive.writestr(name, content)
    return path


DTYPES = [
    *(torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16),
    *(torch.int8, torch.uint8, torch.bool, torch.complex64),
]


@pytest.mark.parametrize("legacy", [False, True])
def test_every_type_and_layout_comes_back(legacy: bool, tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    value = {str(dtype): torch.tensor([0, 1, 3]).to(dtype) for dtype in DTYPES}
    value |= {"transposed": base.T, "slice": base[1:3, ::2], "scalar": torch.tensor(7), "none": torch.zeros(0, 3)}
    value |= {"shared": base, "parameter": torch.nn.Parameter(base[0].clone())}
    contents = OrderedDict(state_dict=OrderedDict(value), epoch=3, rates=[1e-3, None, True], size=torch.Size([2, 3]))
    read = read_torch_file(saved(contents, tmp_path / "a.pth", legacy))
    assert read["epoch"] == 3 and read["rates"] == [1e-3, None, True] and read["size"] == (2, 3)
    assert list(read["state_dict"]) == list(value)
    for name, tensor in value.items():
        came = read["state_dict"][name]
        assert came.dtype == tensor.dtype and came.shape == tensor.shape, name
        assert torch.equal(came, tensor.detach()), name
    shared = read["state_dict"]["shared"], read["state_dict"]["slice"]
    assert shared[0].untyped_storage().data_ptr() == shared[1].untyped_storage().data_ptr()


@pytest.mark.parametrize("legacy", [False, True])
def test_an_optimiser_s_state_comes_back(legacy: bool, tmp_path: Path) -> None:
    network = torch.nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    state = read_torch_file(saved({"optimizer": optimiser.state_dict()}, tmp_path / "a.pth", legacy))["optimizer"]
    again = torch.optim.AdamW(torch.nn.Linear(3, 2).parameters())
    again.load_state_dict(state)
    assert torch.equal(again.state_dict()["state"][0]["exp_avg"], optimiser.state_dict()["state"][0]["exp_avg"])


class Script(torch.nn.Module):
    """Unpickled by torch.jit, it would leave a file."""

    def __init__(self) -> None:
        super().__init__()
        self.w = torch.zeros(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.w


def torchscript(path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(Script()), path)
    return path


def test_torchscript_is_refused_in_every_disguise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: object, **options: object) -> None:
        raise AssertionError("torch's loaders were called")

    path = torchscript(tmp_path / "script.pt")
    for name in ("load", "jit.load"):
        monkeypatch.setattr(f"torch.{name}", never)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    root = next(iter(records)).split("/")[0]

    def packed(names: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", compression) as archive:
            for name, content in names.items():
                archive.writestr(name, content)
        return buffer.getvalue()

    without = {name: content for name, content in records.items() if not name.endswith("constants.pkl")}
    disguises = {
        "as it is": whole,
        "packed": packed(records, zipfile.ZIP_DEFLATED),
        "bytes before": b"\x80\x02}." + whole,
        "bytes behind": whole + b"\x00" * 100,
        "no constants": packed(without),
        "constants in capitals": packed(without | {f"{root}/CONSTANTS.PKL": records[f"{root}/constants.pkl"]}),
        "folder of another name": packed({name.replace(root, "x", 1): content for name, content in records.items()}),
        "two folders": packed(without | {"b/constants.pkl": records[f"{root}/constants.pkl"]}),
        "backslashes": packed({name.replace("/", "\\"): content for name, content in records.items()}),
        "name cut at a zero": whole.replace(b"/constants.pkl", b"/c\x00nstants.pkl"),
        "name differs between directory and record": whole.replace(b"/constants.pkl", b"/xonstants.pkl", 1),
        "name differs in the directory": whole[: whole.rfind(b"/constants.pkl")]
        + b"/xonstants.pkl"
        + whole[whole.rfind(b"/constants.pkl") + 14 :],
        "two archives": packed({"a/data.pkl": b"\x80\x02}."}) + whole,
        "comment": whole[:-2] + struct.pack("<H", len(whole)) + whole,
    }
    for disguise, content in disguises.items():
        for suffix in (".pt", ".pth", ".pth.tar", ""):
            file = tmp_path / f"model{suffix}"
            file.write_bytes(content)
            for leave_out in (False, True):
                with pytest.raises(InputError):
                    print(disguise, read_torch_file(file, leave_out))


def test_foreign_objects_are_named_or_left_out(tmp_path: Path) -> None:
    path = saved({"when": np.random.default_rng(0), "state_dict": {"w": torch.ones(2)}}, tmp_path / "a.pth", False)
    with pytest.raises(ForeignObjectError, match="numpy"):
        read_torch_file(path)
    read = read_torch_file(path, leave_out=True)
    assert torch.equal(read["state_dict"]["w"], torch.ones(2))
    assert read["when"] == {}


STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"


def tensor_program(offset: int, shape: tuple, strides: tuple) -> bytes:
    """A pickle of {'w': tensor}."""
    numbers = b"".join(pickle.dumps(part, 2)[2:-1] for part in (offset, shape, strides, False))
    rebuilt = b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE
    return b"\x80\x02}X\x01\x00\x00\x00w" + rebuilt + numbers + b"tRs."


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(0, (5,), (1,)), (1, (4,), (1,)), (0, (2, 2), (3, 1)), (0, (2,), (1 << 40,)), (0, (-1,), (1,)), (-1, (1,), (1,)),
     (0, (1 << 40,), (0,)), (0, (2, 3), (0, 1)), (0, (4,), (1, 1)), (0, (2.0,), (1,)), (0, (True,) * 70, (1,) * 70)],
)  # fmt: skip
def test_a_tensor_beyond_its_storage_is_refused(offset: int, shape: tuple, strides: tuple, tmp_path: Path) -> None:
    records = {"a/data/0": np.arange(4, dtype="<f4").tobytes(), "a/byteorder": b"little"}
    good = read_torch_file(zipped(tmp_path / "good.pth", tensor_program(0, (2, 2), (1, 2)), records))
    assert good["w"].tolist() == [[0, 2], [1, 3]]
    with pytest.raises(InputError, match=r"bad\.pth"):
        read_torch_file(zipped(tmp_path / "bad.pth", tensor_program(offset, shape, strides), records))


def test_records_must_be_what_the_pickle_says(tmp_path: Path) -> None:
    program, record = tensor_program(0, (4,), (1,)), np.arange(4, dtype="<f4").tobytes()
    for wrong in (
        {},
        {"a/data/0": record[:-1]},
        {"a/data/0": record + b"\x00"},
        {"b/data/0": record},
        {"a/data/0": record, "a/byteorder": b"big"},
    ):
        with pytest.raises(InputError, match=r"a\.pth"):
            read_torch_file(zipped(tmp_path / "a.pth", program, wrong))
    with pytest.raises(InputError, match="packed"):
        read_torch_file(zipped(tmp_path / "a.pth", program, {"a/data/0": record}, compression=zipfile.ZIP_DEFLATED))


def test_a_state_that_holds_itself_and_a_tar_archive_are_refused(tmp_path: Path) -> None:
    loop: dict[str, object] = {}
    loop["state_dict"] = loop
    with pytest.raises(InputError, match="contains itself"):
        read_torch_file(saved(loop, tmp_path / "loop.pth", False))
    tar = bytearray(1024)
    tar[257:262] = b"ustar"
    (tmp_path / "fifo.pth").write_bytes(tar)
    with pytest.raises(InputError, match="tar archive"):
        read_torch_file(tmp_path / "fifo.pth")


def test_safetensors_under_another_name_and_damaged(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from pose2d.networks.checkpoints import read_tensors

    save_file({"w": torch.ones(3)}, tmp_path / "a.safetensors")
    (tmp_path / "a.pth").write_bytes((tmp_path / "a.safetensors").read_bytes())
    assert torch.equal(read_tensors(tmp_path / "a.pth")["w"], torch.ones(3))
    (tmp_path / "a.safetensors").write_bytes(b"<!doctype html>")
    with pytest.raises(InputError, match="web page"):
        read_safetensors(tmp_path / "a.safetensors")
