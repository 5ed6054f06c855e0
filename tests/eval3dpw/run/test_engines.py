"""Engines on work that is quickly done; that they give the same fits is tested with the commands."""

import functools
import multiprocessing
import operator
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eval3dpw.run.engines import InProcess, Processes
from pose2d.errors import InputError

WORK = '''
import os, signal, time
from pathlib import Path

def load(folder):
    return Work(Path(folder))

def load_in_vain(folder):
    from pose2d.errors import InputError
    raise InputError("no such network")

def die(folder):
    os.kill(os.getpid(), signal.SIGKILL)

class Work:
    """Does an item by its name; leaves a file for each attempt."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, item):
        attempt = len(list(self.folder.glob(f"{item}-*")))
        (self.folder / f"{item}-{attempt}").write_text(str(os.getpid()))
        if item.startswith("poison") or (item.startswith("weak") and attempt == 0):
            os.kill(os.getpid(), signal.SIGKILL)
        if item.startswith("fault"):
            raise KeyError("a fault of the program")
        if item.startswith("full"):
            raise OSError(28, "No space left on device", "/disk")
        if item.startswith("slow"):
            time.sleep(60)
        return item.upper()
'''


@pytest.fixture
def work(tmp_path, monkeypatch):
    """The module of the work, importable by workers too, and a folder for it."""
    (tmp_path / "errands.py").write_text(WORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    import importlib

    folder = tmp_path / "attempts"
    folder.mkdir()
    module = importlib.import_module("errands")
    yield module, folder
    del sys.modules["errands"]


def results(engine, load, items):
    return {done.item: (done.result, done.failure) for done in engine.run(load, items)}


def test_in_this_process():
    done = list(InProcess().run(functools.partial(operator.methodcaller, "upper"), ["a", "b"]))
    assert [(one.item, one.result) for one in done] == [("a", "A"), ("b", "B")]


def test_nothing_to_do_loads_nothing():
    for engine in (InProcess(), Processes(2)):
        assert list(engine.run(pytest.fail, [])) == []


def test_processes_do_every_item_and_replace_the_dead(work):
    module, folder = work
    items = ["one", "weak", "two", "poison", "three"]
    found = results(Processes(2, retries=1), functools.partial(module.load, folder), items)
    poison = found.pop("poison")
    assert poison == (None, "its worker died 2 times (by SIGKILL)")
    assert found == {name: (name.upper(), "") for name in items if name != "poison"}
    assert len(list(folder.glob("weak-*"))) == 2
    assert all(len(list(folder.glob(f"{name}-*"))) == 1 for name in ("one", "two", "three"))
    assert str(os.getpid()) not in {file.read_text() for file in folder.iterdir()}
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("item", "error", "words"),
    [("fault", RuntimeError, "a fault of the program"), ("full", OSError, "No space left")],
)
def test_what_the_work_raises_is_raised_here(work, item, error, words):
    module, folder = work
    with pytest.raises(error, match=words):
        results(Processes(1), functools.partial(module.load, folder), [item])
    assert not multiprocessing.active_children()


def test_work_that_cannot_be_loaded(work):
    module, folder = work
    with pytest.raises(InputError, match="no such network"):
        results(Processes(1), functools.partial(module.load_in_vain, folder), ["one"])
    with pytest.raises(InputError, match=r"die while they load.*SIGKILL.*fewer --workers"):
        results(Processes(1, retries=1), functools.partial(module.die, folder), ["one"])


DRIVER = """
import functools, errands
from eval3dpw.run.engines import Processes

if __name__ == "__main__":
    list(Processes(2).run(functools.partial(errands.load, FOLDER), ["slow", "slower"]))
"""


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_a_driver_that_ends_leaves_no_workers(work, tmp_path, ending):
    if not Path("/proc").is_dir():
        pytest.skip("looks at processes through /proc")
    _, folder = work
    script = tmp_path / "driver.py"
    script.write_text(DRIVER.replace("FOLDER", repr(str(folder))))
    driver = subprocess.Popen(
        [sys.executable, script],
        stderr=subprocess.DEVNULL,
        # Tests may run where it is ignored, as programs in the background are made to do.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    until = time.monotonic() + 60
    while len(list(folder.iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.1)
    workers = [int(file.read_text()) for file in folder.iterdir()]
    assert len(workers) == 2
    driver.send_signal(ending)
    try:
        driver.wait(timeout=10)
    finally:
        driver.kill()
        driver.wait()
    until = time.monotonic() + 5
    while any(map(alive, workers)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(alive, workers))
