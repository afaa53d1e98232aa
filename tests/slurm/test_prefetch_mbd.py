"""MultiBandDiffusion's weights are fetched, checked and converted before jobs are submitted. The transfers are real, from this machine."""

from __future__ import annotations

import hashlib
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import released_toy

from lcm.codec import CodecConfig
from lcm.errors import CheckpointError, LcmError
from lcm.mbd.fetch import address, fetch
from lcm.mbd.released import REPOSITORY, REVISION, SHA256, own_cache
from lcm.offline import OFFLINE, no_network
from lcm.teachers import TeacherConfig
from slurm.prefetch import prefetch

CODEC, TEACHER = CodecConfig("encodec_24khz", weights="random"), TeacherConfig("mbd", bw=6.0)


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    for name, folder in {"TORCH_HOME": "torch", "HF_HOME": "hf", "AUDIOCRAFT_CACHE_DIR": "audiocraft"}.items():
        monkeypatch.setenv(name, str(tmp_path / folder))
    for name in ("HF_HUB_CACHE", OFFLINE):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A server with one toy file at the place that the hub would have it."""
    file = released_toy.write(tmp_path / "hub" / REPOSITORY / "resolve" / REVISION)
    monkeypatch.setitem(SHA256, 8, hashlib.sha256(file.read_bytes()).hexdigest())
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            asked.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "hub"))) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield file, asked
        server.shutdown()


def test_what_is_missing_is_fetched_and_converted_and_named_with_its_size_and_identity(hub):
    line = prefetch(CODEC, TEACHER)[1]
    made = own_cache() / "mbd_comp_8.safetensors"
    assert line.startswith(f"teacher mbd at 6 kbps: {made}, {made.stat().st_size:,} bytes, identity ")
    assert (own_cache() / "mbd_comp_8.pt").read_bytes() == hub[0].read_bytes()
    assert len(hub[1]) == 1


def test_what_is_there_is_not_fetched_again(hub):
    first = prefetch(CODEC, TEACHER)
    assert prefetch(CODEC, TEACHER) == first
    assert len(hub[1]) == 1


def test_after_prefetch_a_job_finds_the_weights_without_network(hub):
    first = prefetch(CODEC, TEACHER)
    with no_network() as reached:
        assert prefetch(CODEC, TEACHER) == first
    assert reached == []


def test_it_is_fetched_into_the_folder_that_is_named(hub, tmp_path):
    assert str(tmp_path / "mine") in prefetch(CODEC, TeacherConfig("mbd", bw=6.0, folder=str(tmp_path / "mine")))[1]


def test_a_file_that_is_not_the_publisher_s_is_not_kept(hub, tmp_path):
    hub[0].write_bytes(hub[0].read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"mbd_comp_8\.pt could not be fetched from .* \(invalid hash value"):
        prefetch(CODEC, TEACHER)
    assert [p.name for p in own_cache().iterdir()] == [".lock"]


def test_a_server_without_it_is_named_with_the_place_for_the_file(hub):
    hub[0].unlink()
    with pytest.raises(CheckpointError, match=r"HTTP Error 404.*put it at .*lcm-mbd/mbd_comp_8\.pt and run this again"):
        prefetch(CODEC, TEACHER)


def test_offline_nothing_is_fetched_and_the_reason_is_said(hub, monkeypatch):
    monkeypatch.setenv(OFFLINE, "1")
    with pytest.raises(CheckpointError, match=f"{OFFLINE} forbids it here"):
        prefetch(CODEC, TEACHER)
    with pytest.raises(CheckpointError, match=f"{OFFLINE} is set"):
        fetch(8, None)
    assert hub[1] == []


def test_the_address_names_a_fixed_revision_of_the_publisher_s_repository(monkeypatch):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    assert address(4).endswith(f"/facebook/multiband-diffusion/resolve/{REVISION}/mbd_comp_4.pt")


def test_a_full_disk_is_foreseen_before_the_transfer(hub, monkeypatch):
    monkeypatch.setattr("lcm.mbd.fetch.shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(CheckpointError, match=r"has 1,000 bytes free; fetching and converting takes 9,166,537,098"):
        prefetch(CODEC, TEACHER)
    assert hub[1] == []


def test_random_weights_need_no_file():
    assert prefetch(CODEC, TeacherConfig("mbd", weights="random"))[1] == "teacher mbd at 3 kbps: random weights, for tests"


def test_a_bandwidth_that_was_not_released_names_those_that_were():
    with pytest.raises(LcmError, match=r"teacher\.bw=12 .* 1\.5, 3 or 6 kbps"):
        prefetch(CODEC, TeacherConfig("mbd", bw=12.0))


def test_the_latent_teacher_that_students_start_from_is_looked_for_too(tmp_path):
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*gone\.safetensors"):
        prefetch(CODEC, TeacherConfig("mbd", weights="random", checkpoint=str(tmp_path / "gone.safetensors")))
