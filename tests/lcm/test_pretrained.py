import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from lcm import checkpoint
from lcm.codec import CodecConfig, load_codec
from lcm.errors import CheckpointError, LcmError
from lcm.paths import Run, write_text
from lcm.pretrained import card_of, from_pretrained
from lcm.pretrained.cli import main
from lcm.pretrained.pack import pack
from lcm.provenance import write_provenance
from lcm.records import Keys, rows, to_frame, write_records

COMMAND = ["/somewhere/sweeps/run.py", "root=/home/me/runs", "train.steps=3"]
CONFIG = "codec: {name: encodec_small, weights: pretrained}\ncorpus: {source: libritts, root: /data/LibriTTS}\ntrain: {steps: 3}\nseed: 1\n"


@pytest.fixture
def run_folder(tmp_path, make_model):
    """A run folder as points leave it, with records of four speakers."""
    run = Run(tmp_path / "root" / "points" / "abc-s1")
    checkpoint.save_model(run.model, make_model())
    write_text(run.config, CONFIG)
    write_provenance(run.provenance, {"manifest": "feed"})
    made = json.loads(run.provenance.read_text())
    write_text(run.provenance, json.dumps({**made, "command": COMMAND}))
    table = [row for i in range(8) for row in rows(Keys("student", f"u{i}", f"s{i % 4}", 1, signature="abc"), {"lsd": i, "time_copy": 1.0})]
    write_records(run.records, to_frame([*table, *rows(Keys("student", "*", "*", 1, signature="abc"), {"frechet_hf": 5.0})]))
    return run.folder


def test_the_shipped_model_comes_with_its_codec_and_restores():
    model, codec = from_pretrained(device="cpu")
    assert model.spec.codec == codec.identity
    assert model.restore(codec, torch.zeros(1, codec.n_q, 8, dtype=torch.long), torch.tensor([6000.0])).shape == (1, 128, 8)


@pytest.mark.parametrize("place", ["", "checkpoints/model.safetensors"])
def test_a_runs_model_is_taken_by_file_and_by_folder(run_folder, place):
    model, codec = from_pretrained(run_folder / place, device="cpu")
    assert model.spec.kind == "consistency"
    assert codec.name == "encodec_small"
    assert not model.training


def test_a_packed_folder_holds_half_the_bytes_and_the_same_model(run_folder, tmp_path):
    card = pack(run_folder, tmp_path / "packed", half=True)
    model, _ = from_pretrained(tmp_path / "packed", device="cpu")
    whole, _ = from_pretrained(run_folder, device="cpu")
    assert card["sizes"]["bytes"] < 0.6 * Run(run_folder).model.stat().st_size
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], tensor, atol=1e-3, rtol=1e-3)


def test_a_card_says_what_the_model_is_and_how_well_it_does_without_the_machines_paths(run_folder, tmp_path):
    pack(run_folder, tmp_path / "packed", name="mine", licence="CC BY 4.0", data="Speech of mine")
    text = (tmp_path / "packed" / "card.json").read_text()
    card = json.loads(text)
    assert (card["name"], card["licence"], card["data"], card["protocol"]) == ("mine", "CC BY 4.0", "Speech of mine", 1)
    assert card["command"] == "python -m sweeps.run root=runs train.steps=3"
    assert card["config"] == {"seed": 1, "train": {"steps": 3}}
    assert "/home" not in text
    assert "/data" not in text
    lsd, frechet = card["metrics"]
    assert (lsd["metric"], lsd["mean"], lsd["n"], lsd["speakers"]) == ("lsd", 3.5, 8, 4)
    assert lsd["low"] < 3.5 < lsd["high"]
    assert (frechet["mean"], frechet["low"]) == (5.0, None)
    readme = (tmp_path / "packed" / "README.md").read_text()
    assert readme.startswith("---\nlicense: cc-by-4.0\n")
    assert "| student | 1 | off | 3.5 [" in readme


def test_a_file_of_any_name_has_its_card_under_the_same_name(run_folder, tmp_path):
    pack(run_folder, tmp_path / "packed", name="mine")
    (tmp_path / "packed" / "model.safetensors").rename(tmp_path / "mine.safetensors")
    (tmp_path / "packed" / "card.json").rename(tmp_path / "mine.json")
    assert card_of(tmp_path / "mine.safetensors")["name"] == "mine"
    assert from_pretrained(tmp_path / "mine.safetensors", device="cpu")[0].spec.kind == "consistency"


def test_a_run_that_was_not_evaluated_is_packed_and_says_so(run_folder, tmp_path):
    Run(run_folder).records.unlink()
    assert pack(run_folder, tmp_path / "packed")["metrics"] == []
    assert "Not evaluated." in (tmp_path / "packed" / "README.md").read_text()


def test_the_card_names_a_codec_that_the_weights_do_not(tmp_path, make_model):
    encodec = load_codec(CodecConfig("encodec_24khz", 6.0, weights="random"))
    model = make_model()
    model.spec.codec = encodec.identity
    checkpoint.save_model(tmp_path / "model.safetensors", model)
    with pytest.raises(CheckpointError, match=f"{encodec.identity}.*encodec_small.*62dfd5a51998f6e3"):
        from_pretrained(tmp_path, device="cpu")
    write_text(tmp_path / "card.json", json.dumps({"codec": {"name": "encodec_24khz", "weights": "random"}}))
    assert from_pretrained(tmp_path, device="cpu")[1].identity == encodec.identity


def test_a_card_of_other_weights_is_refused_with_both_named(run_folder, tmp_path):
    pack(run_folder, tmp_path / "packed")
    write_text(tmp_path / "packed" / "card.json", json.dumps({"identity": "0123456789abcdef"}))
    with pytest.raises(CheckpointError, match="card beside it belongs to 0123456789abcdef"):
        from_pretrained(tmp_path / "packed")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.pt", b"anything", "no .safetensors file.*never opened"),
        ("model.safetensors", b"garbage" * 9, "is damaged"),
        ("folder/other.txt", b"", "holds neither model.safetensors nor checkpoints/model.safetensors"),
    ],
)
def test_what_is_no_model_is_named(tmp_path, name, content, message):
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        from_pretrained(file if "/" not in name else file.parent, device="cpu")


@pytest.mark.parametrize("source", ["nothing", "./no/such/folder", "no/model.safetensors"])
def test_a_source_that_is_nothing_is_told_what_sources_there_are(source):
    with pytest.raises(CheckpointError, match=f"no model at {source}: expected `shipped`, a model.safetensors, a folder"):
        from_pretrained(source)


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(LcmError, match="Device 'qpu' cannot be used"):
        from_pretrained(device="qpu")


def test_offline_a_repository_comes_from_the_cache_or_not_at_all(run_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("LCM_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(CheckpointError, match="me/mine here, nor is it in the hub's cache, and LCM_OFFLINE"):
        from_pretrained("me/mine")
    pack(run_folder, tmp_path / "hub" / "models--me--mine" / "snapshots" / "1")
    assert from_pretrained("me/mine", device="cpu")[0].spec.kind == "consistency"


def test_without_its_library_the_hub_is_explained(run_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(CheckpointError, match=r"pip install lcm-superres\[hub\]"):
        from_pretrained("me/mine")
    assert main(["pack", str(run_folder), "-o", str(tmp_path / "packed")]) == 0
    assert main(["push", str(tmp_path / "packed"), "me/mine"]) == 1
    assert "pip install lcm-superres[hub]" in capsys.readouterr().err


def test_only_a_packed_folder_is_published(tmp_path, capsys):
    assert main(["push", str(tmp_path), "me/mine"]) == 1
    assert "lacks model.safetensors, card.json, README.md: make it by" in capsys.readouterr().err


def test_packing_what_is_no_run_is_one_line(tmp_path, capsys):
    assert main(["pack", str(tmp_path), "-o", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.startswith("There is no checkpoint at")
    assert not (tmp_path / "out").exists()


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as one repository needs; `files` is what it holds, `asked` what came."""

    files: dict
    asked: list

    def do_GET(self):
        self._answer()

    def do_HEAD(self):
        self._answer()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.asked.append((self.path, body))
        if self.path.endswith("/preupload/main"):
            told = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]]
            return self._json({"files": told})
        if self.path.endswith("/commit/main"):
            return self._json({"commitUrl": f"{self._home()}/commit/{'1' * 40}", "commitOid": "1" * 40, "hookOutput": ""})
        return self._json({"url": self._home(), "name": "me/mine", "warnings": [], "errors": []})

    def _answer(self):
        name = self.path.rpartition("/")[2].partition("?")[0]
        if self.path.startswith("/api/models/me/mine/tree/"):
            return self._json([{"type": "file", "path": k, "size": len(v), "oid": "1" * 40} for k, v in self.files.items()])
        if self.path.startswith("/api/models/me/mine"):
            siblings = [{"rfilename": name} for name in self.files]
            return self._json({"id": "me/mine", "sha": "1" * 40, "siblings": siblings, "private": False, "tags": [], "downloads": 0})
        if self.path.startswith("/me/mine/resolve/") and name in self.files:
            return self._send(200, self.files[name], {"ETag": f'"{name}"', "X-Repo-Commit": "1" * 40})
        return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _home(self):
        return f"http://{self.headers['Host']}/me/mine"

    def _json(self, content):
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _send(self, status, content, headers):
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def fake_hub(monkeypatch, tmp_path):
    """The hub's protocol on this machine; the real library talks to it, in a process of its own, for it reads its settings once."""
    handler = type("ThisHub", (Hub,), {"files": {}, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_TOKEN", "hf_none")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    yield handler
    server.shutdown()


@pytest.mark.slow
def test_the_real_library_fetches_and_publishes(run_folder, tmp_path, fake_hub):
    packed = tmp_path / "packed"
    pack(run_folder, packed)
    fake_hub.files.update({file.name: file.read_bytes() for file in packed.iterdir()})
    load = "from lcm.pretrained import from_pretrained as f; print(f('{}', device='cpu')[0].spec.kind)"
    found = subprocess.run([sys.executable, "-c", load.format("me/mine")], capture_output=True, text=True, check=False)
    assert found.stdout.strip() == "consistency", found.stderr
    wrong = subprocess.run([sys.executable, "-c", load.format("me/none")], capture_output=True, text=True, check=False)
    assert "There is no folder me/none here, and it could not be fetched from the hub" in wrong.stderr
    sent = subprocess.run(
        [sys.executable, "-m", "lcm.pretrained", "push", str(packed), "me/mine"], capture_output=True, text=True, check=False
    )
    assert sent.stdout.strip().endswith("/me/mine/commit/" + "1" * 40), sent.stderr
    commit = next(body for path, body in fake_hub.asked if path.endswith("/commit/main"))
    assert {json.loads(line)["value"].get("path") for line in commit.splitlines()} >= {"model.safetensors", "card.json", "README.md"}
