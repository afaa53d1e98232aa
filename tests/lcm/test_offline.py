"""Jobs find what was fetched, and fetch nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from lcm.codec import CodecConfig, load_codec
from lcm.errors import CodecError
from lcm.offline import OFFLINE, job_environment, no_network, offline


@pytest.mark.parametrize(("value", "expected"), [(None, False), ("", False), ("0", False), ("no", False), ("1", True), ("true", True)])
def test_a_variable_says_that_a_process_is_offline(monkeypatch, value, expected):
    monkeypatch.delenv(OFFLINE, raising=False)
    if value is not None:
        monkeypatch.setenv(OFFLINE, value)
    assert offline() is expected


def test_a_job_looks_where_the_login_node_would(tmp_path):
    """On a node the home folder may be another: the caches are named by absolute paths."""
    code = "import torch.hub, os; print(torch.hub.get_dir()); print(os.environ['LCM_OFFLINE'])"
    there = {**os.environ, **job_environment(), "HOME": str(tmp_path)}
    said = subprocess.run([sys.executable, "-c", code], env=there, capture_output=True, text=True, check=True).stdout.split()
    here = subprocess.run([sys.executable, "-c", code], env={**os.environ, OFFLINE: "0"}, capture_output=True, text=True, check=True)
    assert said == [here.stdout.split()[0], "1"]


def test_caches_that_are_set_stay_where_they_are():
    env = {"TORCH_HOME": "~/weights", "XDG_CACHE_HOME": "/cache", "HF_HUB_CACHE": "hub"}
    exported = job_environment(env)
    assert exported["TORCH_HOME"] == str(Path.home() / "weights")
    assert exported["HF_HOME"] == "/cache/huggingface"
    assert exported["HF_HUB_CACHE"] == exported["AUDIOCRAFT_CACHE_DIR"] == str(Path.cwd() / "hub")
    assert exported["HF_HUB_OFFLINE"] == "1"


def test_an_offline_job_refuses_to_download_and_names_prefetch(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv(OFFLINE, "1")
    reached = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *where, **_: reached.append(where))
    with pytest.raises(CodecError, match=r"encodec_24khz-d7cc33bc\.th does not exist.*python -m slurm prefetch"):
        load_codec(CodecConfig("encodec_24khz"))
    assert not reached


def test_inside_no_network_connections_fail_and_are_named_and_afterwards_they_work():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        with no_network() as reached:
            assert offline()
            with pytest.raises(OSError, match="not to be used"):
                urllib.request.urlopen("http://localhost:9/")
            with pytest.raises(OSError, match="not to be used"), socket.socket() as direct:
                direct.connect(address)
        assert reached == ["localhost:9", str(address)]
        assert not offline()
        socket.create_connection(address, timeout=5).close()


def test_inside_no_network_what_is_on_disk_loads():
    with no_network() as reached:
        load_codec(CodecConfig())
    assert reached == []
