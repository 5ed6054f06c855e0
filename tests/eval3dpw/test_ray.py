"""`fit` on a Ray cluster of two nodes on this machine, of which one is killed while it works."""

import os
import sys
import threading
import time

import pytest

import run_fitting
from tests.eval3dpw.run_folders import assert_same, command_line

SEQUENCES = 6


@pytest.fixture
def cluster(monkeypatch):
    """Two nodes of one core each, which talk to each other on the loopback address alone."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'calibrated-pose[ray]'")
    import ray
    from ray.cluster_utils import Cluster

    # What a node's workers import; of an installed project this is not needed.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(os.path.abspath, sys.path)))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    node = {"num_cpus": 1, "object_store_memory": 80_000_000, "node_ip_address": "127.0.0.1"}
    cluster = Cluster()
    try:
        cluster.add_node(**node, include_dashboard=False)
        second = cluster.add_node(**node)
    except Exception as error:  # Ray gives its own processes half a minute to start
        cluster.shutdown()
        pytest.skip(f"Ray's processes do not start on this machine now: {error}")
    yield cluster, second
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Ray's own
def test_a_cluster_that_loses_a_node_leaves_the_same_bytes(
    tmp_path, make_sequence, write_sequence, random_networks, monkeypatch, cluster, capsys
):
    nodes, second = cluster
    for seed in range(SEQUENCES):
        write_sequence(tmp_path / "world", make_sequence(f"walk_{seed:02d}", frames=60, actors=1 + seed % 2, seed=seed))
    for folder in ("local", "ray"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "local")
    assert run_fitting.main(command_line(tmp_path / "world", random_networks)) == 0

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
    monkeypatch.chdir(tmp_path / "ray")
    status = run_fitting.main(
        command_line(tmp_path / "world", random_networks, "--engine", "ray", "--address", nodes.address)
    )
    killer.join()
    assert status == 0, capsys.readouterr().err
    assert killed_after[0] in range(1, SEQUENCES)
    assert_same(tmp_path / "local" / "out", tmp_path / "ray" / "out")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_cluster_that_is_not_there_is_told_in_one_sentence(tmp_path, make_sequence, write_sequence, random_networks,
                                                             monkeypatch, capsys):  # fmt: skip
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'calibrated-pose[ray]'")
    write_sequence(tmp_path / "world", make_sequence("walk_00"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_gcs_rpc_server_connect_timeout_s", "1")
    words = command_line(tmp_path / "world", random_networks, "--engine", "ray", "--address", "127.0.0.1:1")
    assert run_fitting.main(words) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "no Ray cluster can be reached or started at 127.0.0.1:1" in errors[0]


def test_without_ray_the_engine_says_what_to_install(monkeypatch):
    from eval3dpw.ray_engine import Ray
    from pose2d.errors import InputError

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'calibrated-pose\[ray\]'"):
        list(Ray().run(pytest.fail, ["one"]))
