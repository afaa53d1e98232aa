"""The command `lcm page` as a process of its own, with the model that ships."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import pytest

from lcm.page.command import main

ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)/")


@contextmanager
def _running(folder, *words):
    """Start the command, whose temporary files go into `folder`; yield the process and its port."""
    command = [sys.executable, "-m", "lcm", "page", "--port", "0", "--device", "cpu", *words]
    environment = {**os.environ, "TMPDIR": str(folder), "DISPLAY": "", "WAYLAND_DISPLAY": ""}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        found = ADDRESS.match(process.stdout.readline())
        assert found, process.communicate()[1]
        yield process, int(found[1])
    finally:
        process.kill()
        process.communicate()


def _kept(folder):
    return [path.name for path in folder.glob("lcm-page-*/*/*.wav")]


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_one_command_serves_the_shipped_model_and_leaves_nothing_when_it_is_stopped(tmp_path, written, narrow, ending):
    with _running(tmp_path) as (process, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/restore?name=clip.wav", written(narrow, 12_000))
        answer = json.loads(connection.getresponse().read())
        assert answer["output_rate_hz"] == 24_000
        assert len(_kept(tmp_path)) == 4
        process.send_signal(ending)
        output, errors = process.communicate(timeout=30)
        assert (process.returncode, output, errors) == (0, "Stopped; the recordings are removed.\n", "")
    assert list(tmp_path.glob("lcm-page-*")) == []


def test_a_port_in_use_is_named_with_what_to_do(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--port", str(port), "--no-browser"]) == 1
    error = capsys.readouterr().err
    assert f"127.0.0.1:{port} cannot be listened on (Address already in use)" in error
    assert "--port 0" in error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--port", "99999"], "99999 cannot be listened on"),
        (["--host", "no.such.host.invalid"], "cannot be listened on"),
        (["--max-minutes", "0"], "--max-minutes 0"),
        (["--max-mb", "inf"], "--max-mb inf"),
        (["--model", "/no/such/model"], "/no/such/model"),
        (["--steps", "0"], "steps=0"),
    ],
)
def test_a_wrong_setting_is_one_line(capsys, words, said):
    assert main(["--port", "0", "--no-browser", *words]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_another_host_than_this_machine_is_warned_of(tmp_path):
    command = [sys.executable, "-m", "lcm.page", "--port", "0", "--host", "0.0.0.0", "--no-browser"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        address = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        try:
            _, said = process.communicate(timeout=120)
        finally:
            process.kill()
    assert address.startswith("http://0.0.0.0:")
    assert "Warning: --host 0.0.0.0 lets everyone who reaches this machine use the page" in said


def test_the_files_of_the_page_are_part_of_the_package():
    from setuptools import Distribution
    from setuptools.config.pyprojecttoml import apply_configuration

    root = Path(__file__).parents[3]
    found = apply_configuration(Distribution(), root / "pyproject.toml").package_data["lcm"]
    packed = {path.name for pattern in found for path in (root / "lcm").glob(pattern)}
    assert {file.name for file in resources.files("lcm.page").joinpath("static").iterdir()} <= packed


def test_the_page_needs_nothing_from_outside():
    for file in resources.files("lcm.page").joinpath("static").iterdir():
        assert not re.search(r"https?://|//[a-z]+\.", file.read_text("utf-8")), file.name
