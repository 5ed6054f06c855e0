"""`fit` on a Ray cluster of two nodes on this machine, of which one is killed while it works."""

import contextlib
import importlib.util
import os
import re
import socket
import sys
import threading
import time
import types
from typing import Any

import pytest

from tests.eval3dpw.run_folders import assert_same, command_line, run_apart

SEQUENCES = 6


def free_ports():
    """Ports for the agents of a node: where they are not given, Ray waits a few seconds for the agents to choose."""
    names = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in names]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return {name: each.getsockname()[1] for name, each in zip(names, sockets, strict=True)}


@pytest.fixture
def cluster(monkeypatch):
    """Two nodes of one core each, which talk to each other on the loopback address alone."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'calibrated-pose[ray]'")
    from ray._private import ray_constants
    from ray.cluster_utils import Cluster

    # What a node's workers import; of an installed project this is not needed.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(os.path.abspath, sys.path)))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # Else Ray turns the loopback address into the machine's own on the network.
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    monkeypatch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)
    monkeypatch.setenv("RAY_agent_register_timeout_ms", "300000")  # a busy machine starts its processes slowly
    node: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80_000_000, "node_ip_address": "127.0.0.1"}
    node |= {"include_log_monitor": False, "no_monitor": True}
    cluster = Cluster()
    try:
        cluster.add_node(**node, **free_ports(), include_dashboard=False)
        second = cluster.add_node(**node, **free_ports())
    except Exception as error:  # Ray gives its own processes half a minute to start
        cluster.shutdown()
        pytest.skip(f"Ray's processes do not start on this machine now: {error}")
    yield cluster, second
    cluster.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Ray's own
def test_a_cluster_that_loses_a_node_leaves_the_same_bytes(
    tmp_path, make_sequence, write_sequence, random_networks, cluster
):
    nodes, second = cluster
    for seed in range(SEQUENCES):
        write_sequence(tmp_path / "world", make_sequence(f"walk_{seed:02d}", frames=16, actors=1 + seed % 2, seed=seed))
    run_apart(tmp_path / "local", command_line(tmp_path / "world", random_networks))

    records = tmp_path / "ray" / "out" / "units"
    killed_after = []

    def kill_a_node():
        until = time.monotonic() + 300
        while time.monotonic() < until and not list(records.glob("*.json")):
            time.sleep(0.01)
        killed_after.append(len(list(records.glob("*.json"))))
        nodes.remove_node(second, allow_graceful=False)

    killer = threading.Thread(target=kill_a_node)
    killer.start()
    words = command_line(tmp_path / "world", random_networks, "--engine", "ray", "--address", nodes.address)
    run_apart(tmp_path / "ray", words)
    killer.join()
    assert killed_after[0] in range(1, SEQUENCES)
    assert_same(tmp_path / "local" / "out", tmp_path / "ray" / "out")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://[::1]:1"])
def test_a_cluster_that_is_not_there_is_told_in_one_sentence(address, monkeypatch):
    from eval3dpw.run.ray_engine import Ray
    from pose2d.errors import InputError

    if importlib.util.find_spec("ray") is None:
        fake = types.SimpleNamespace(is_initialized=lambda: False, exceptions=types.SimpleNamespace(RayError=OSError))
        monkeypatch.setitem(sys.modules, "ray", fake)
    with pytest.raises(
        InputError, match=f"no Ray cluster can be reached or started at {re.escape(address)}: .*refused"
    ):
        list(Ray(address).run(pytest.fail, ["one"]))


def test_without_ray_the_engine_says_what_to_install(monkeypatch):
    from eval3dpw.run.ray_engine import Ray
    from pose2d.errors import InputError

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'calibrated-pose\[ray\]'"):
        list(Ray().run(pytest.fail, ["one"]))
