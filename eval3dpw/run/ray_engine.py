"""Jobs on a Ray cluster.

Plain tasks, one an item, and no actors: a task whose worker or machine dies is done again elsewhere by Ray itself, and
machines may join or leave while the run goes on, while an actor would have to be restarted, loaded and handed its work
again by this program. What an actor would keep, the loaded networks, each worker process keeps between its tasks.
Every machine needs this project, and the inputs and --out by the same paths (shared storage); files travel by path, so
that the cluster's own store holds next to nothing.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import socket
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from eval3dpw.run.engines import RETRIES, Done
from pose2d.console.progress import set_quiet
from pose2d.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")

_PATIENCE_S = 10.0  # for the cluster's head to answer
_LOOK_AGAIN_S = 1.0  # for machines that have joined
_AHEAD = 2  # tasks handed to the cluster for each of its cores


@dataclass(frozen=True)
class Ray:
    """Every core of a Ray cluster."""

    address: str | None = None
    """host:port of its head; None for the cluster that this machine belongs to, else one is started on this machine."""
    retries: int = RETRIES

    def run(self, load: Callable[[], Callable[[Item], Result]], items: Sequence[Item]) -> Generator[Done[Item, Result]]:
        """See `eval3dpw.run.engines.Engine`."""
        if not items:
            return
        ray = _ray()
        with self._connected(ray):
            task = ray.remote(num_cpus=1, max_retries=self.retries)(_do)
            loading = pickle.dumps(load)
            waiting, running = deque(items), dict[Any, Item]()
            try:
                while waiting or running:
                    room = _AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
                    while waiting and len(running) < room:
                        item = waiting.popleft()
                        running[task.remote(loading, item)] = item
                    for reference in ray.wait(list(running), timeout=_LOOK_AGAIN_S)[0]:
                        item = running.pop(reference)
                        yield self._done(ray, reference, item)
            finally:
                for reference in running:
                    ray.cancel(reference, force=True)

    def _done(self, ray: Any, reference: Any, item: Item) -> Done[Item, Any]:
        try:
            return Done(item, ray.get(reference))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:
            return Done(item, None, f"its worker died {self.retries + 1} times ({type(error).__name__})")

    @contextlib.contextmanager
    def _connected(self, ray: Any) -> Generator[None]:
        if ray.is_initialized():
            yield
            return
        try:
            self._connect(ray)
        except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
            where = f"at {self.address}" if self.address else "here"
            reason = str(error).splitlines()[0]
            raise InputError(f"no Ray cluster can be reached or started {where}: {reason}") from None
        try:
            yield
        finally:
            ray.shutdown()

    def _connect(self, ray: Any) -> None:
        quiet = {"log_to_driver": False, "configure_logging": False}
        if self.address is not None:
            _knock(self.address)
            ray.init(address=self.address, **quiet)
            return
        try:
            ray.init(address="auto", **quiet)
        except ConnectionError:  # no cluster is running: one of this machine alone, which nobody else can reach
            ray.init(address="local", include_dashboard=False, _node_ip_address="127.0.0.1", **quiet)


def _knock(address: str) -> None:
    """Whether somebody listens there at all: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE_S).close()


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anyone
    try:
        import ray
    except ImportError:
        raise InputError("--engine ray needs Ray: pip install 'calibrated-pose[ray]'") from None
    return ray


@functools.lru_cache(maxsize=1)
def _loaded(loading: bytes) -> Callable[[Any], Any]:
    load: Callable[[], Callable[[Any], Any]] = pickle.loads(loading)  # made by `Ray.run` above
    return load()


def _do(loading: bytes, item: Any) -> Any:
    """A task, in a worker process that has perhaps loaded the work before."""
    set_quiet(True)
    return _loaded(loading)(item)
