"""No pickle and no TorchScript archive runs, at any door, in any of the ways in which a pickle can call."""

from __future__ import annotations

from pathlib import Path

import pytest

from pose2d.errors import InputError
from pose2d.files.unpickling import ChumpyStub, SparseStub
from tests.fuzz.gadgets import calls, disguises, in_checkpoint, names, script

WAYS = tuple(calls("os", "system", Path("x")))


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any import that a door starts, and any of torch's loaders, is a failure."""

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError(f"a loader was called with {arguments!r:.100}")

    for loader in ("torch.load", "torch.jit.load", "pickle.load", "pickle.loads", "numpy.load", "os.system"):
        monkeypatch.setattr(loader, refuse)


def refused(path: Path, *doors: object) -> None:
    for door in doors:
        try:
            value = door(path)
        except InputError:
            continue
        assert not value or _inert(value), f"{door} gave {value!r:.100}"


def _inert(value: object) -> bool:
    """Nothing but empty stand-ins and plain containers."""
    if isinstance(value, dict):
        return all(_inert(part) for item in value.items() for part in item)
    return isinstance(value, str | int | float | tuple | ChumpyStub | SparseStub | type(None))


@pytest.mark.parametrize("way", [WAYS[0], *(pytest.param(way, marks=pytest.mark.slow) for way in WAYS[1:])])
def test_no_gadget_runs(way: str, tmp_path: Path, never: None) -> None:
    from eval3dpw.dataset.threedpw import read_sequence
    from fitting.bodies.body import convert_body
    from fitting.regressor.files import convert_regressor
    from fitting.regressor.model import load_regressor
    from pose2d.files.unpickling import restricted_load
    from pose2d.networks.checkpoints import convert_checkpoint, read_tensors

    mark = tmp_path / "it_ran"
    assert len(names()) >= 150
    for module, name in names():
        program = calls(module, name, mark)[way]
        path = tmp_path / "a.pkl"
        path.write_bytes(program)
        refused(
            path,
            restricted_load,
            lambda path: read_sequence(path, None),
            lambda path: convert_body(path, tmp_path / "SMPL_MALE.npz"),
        )
        for legacy in (False, True):
            path = tmp_path / "a.pth"
            path.write_bytes(in_checkpoint(program, legacy))
            refused(
                path,
                read_tensors,
                load_regressor,
                lambda path: convert_checkpoint(path, tmp_path / "c.safetensors"),
                lambda path: convert_regressor(path, tmp_path / "r.safetensors"),
            )
    left = {file.name for file in tmp_path.iterdir()}
    assert left <= {"a.pkl", "a.pth"}


def test_no_torchscript_runs_in_any_disguise(tmp_path: Path, never: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from fitting.regressor.files import convert_regressor
    from fitting.regressor.model import load_regressor
    from pose2d.networks.checkpoints import convert_checkpoint, read_tensors

    monkeypatch.chdir(tmp_path)
    mark = tmp_path / "it_ran"
    (tmp_path / "doors").mkdir()
    for disguise, content in disguises(script()):
        for suffix in (".pt", ".pth", ".pth.tar", ".safetensors"):
            path = tmp_path / "doors" / f"model{suffix}"
            path.write_bytes(content)
            for door in (
                read_tensors,
                load_regressor,
                lambda path: convert_checkpoint(path, tmp_path / "c.safetensors"),
                lambda path: convert_regressor(path, tmp_path / "r.safetensors"),
            ):
                if disguise == "behind a checkpoint" and door is read_tensors:
                    continue  # an empty checkpoint with bytes behind it is read as empty
                with pytest.raises(InputError):
                    door(path)
    assert not mark.exists()


@pytest.mark.filterwarnings("ignore")
def test_the_script_is_a_live_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's own loader runs it: the suite would see a door that let it through."""
    import io

    import torch

    monkeypatch.chdir(tmp_path)
    torch.jit.load(io.BytesIO(script()))
    assert (tmp_path / "it_ran").exists()
