"""The page's server: a handful of addresses, nothing from outside taken as a path, one recording in the model at a time."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import re
import secrets
import shutil
import socket
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from lcm.errors import LcmError
from lcm.page.trial import Limits, Settings, Trials

AT_ONCE = 4
"""Recordings received, waiting or restored at once; a further one is told to come again."""
DRAIN_S = 20.0  # a refused upload is read on for this long, else the browser sees a broken connection instead of the reason
NAME_LENGTH = 120

_TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
_RESULT = re.compile(r"/results/([\w-]{1,40})/(\w{1,20})\.wav")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def _static() -> dict[str, tuple[str, bytes]]:
    """Return the files of the page by address: what is not in this table is not served."""
    files = [file for file in resources.files("lcm.page").joinpath("static").iterdir() if Path(file.name).suffix in _TYPES]
    table = {f"/{file.name}": (_TYPES[Path(file.name).suffix], file.read_bytes()) for file in files}
    return {**table, "/": table["/index.html"]}


class Page(ThreadingHTTPServer):
    """Listens; `trials` is to be set before it serves.

    Args:
        address: Host and port; port 0 takes a free one.
        limits: What a recording may be.
    """

    trials: Trials

    def __init__(self, address: tuple[str, int], limits: Limits) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, Handler)
        self.limits, self.files, self.slots = limits, _static(), threading.BoundedSemaphore(AT_ONCE)
        self.private = _loopback(address[0])

    @property
    def address(self) -> str:
        """Return the address to open."""
        host = str(self.server_address[0])
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    server: Page
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "lcm", ""
    timeout = 30  # seconds that a connection may be idle

    def do_GET(self) -> None:
        """Give a file of the page, the limits, or a file of a trial."""
        address = urlsplit(self.path).path
        result = _RESULT.fullmatch(address)
        file = self.server.trials.file(*result.groups()) if result else None
        if not self._trusted():
            self._refuse(403, "This page answers only under its own address.")
        elif address in self.server.files:
            self._send(200, *self.server.files[address])
        elif address == "/limits":
            limits = self.server.limits
            self._say(200, {"bytes": limits.bytes, "seconds": limits.seconds})
        elif file and file.is_file():
            self._send_file(file)
        else:
            self._refuse(404, "That result is kept no longer: restore the recording again." if result else "Nothing is here.")

    def do_POST(self) -> None:
        """Take a recording as the body of `/restore?name=...&narrow=...&cutoff=...` and say what became of it."""
        address, limits = urlsplit(self.path), self.server.limits
        length = self._length()
        if not self._trusted() or address.path != "/restore":
            self._refuse(403, "Recordings are taken at /restore, from this page alone.", length)
        elif length < 0:
            self._refuse(411, "The length of the recording was not sent.", limits.bytes)
        elif length > limits.bytes:
            reason = f"the file has {length / 1e6:.1f} MB; this page takes at most {limits.bytes / 1e6:g} MB. `lcm upscale` takes any size."
            self._refuse(413, f"{_name(address.query)}: {reason}", length)
        elif not self.server.slots.acquire(blocking=False):
            self._refuse(503, "Other recordings are being restored: try again in a moment.", length)
        else:
            try:
                answer = self._restored(address.query, length)
            finally:
                self.server.slots.release()
            self._say(*answer)

    def _restored(self, query: str, length: int) -> tuple[int, dict[str, object]]:
        """Receive a recording and restore it; return the answer, with nothing of the upload left."""
        start, trials, name = time.perf_counter(), self.server.trials, _name(query)
        file = trials.folder / f"upload-{secrets.token_hex(8)}"
        try:
            self._receive(file, length)
            trial = trials.make(file, name, _settings(query))
            return 200, {**trial.said(), "all_s": time.perf_counter() - start}
        except LcmError as error:
            return 422, {"error": str(error)}
        except (ConnectionError, TimeoutError):
            raise
        except Exception:  # whatever a library raises must reach the page as an answer, and the terminal in full
            traceback.print_exc()
            return 500, {"error": f"{name}: the server failed; its terminal says why."}
        finally:
            file.unlink(missing_ok=True)

    def _receive(self, file: Path, length: int) -> None:
        """Write the body to a file.

        Raises:
            ConnectionError: The client went away before its end.
        """
        with file.open("wb") as out:
            while length and (block := self.rfile.read(min(length, 1 << 20))):
                length -= len(block)
                out.write(block)
        if length:
            raise ConnectionAbortedError

    def _length(self) -> int:
        """Return the length of the body, -1 where it is not stated."""
        stated = self.headers.get("Content-Length", "")
        return int(stated) if stated.isascii() and stated.isdigit() else -1

    def _trusted(self) -> bool:
        """Say whether the request is for this server by name and from its own page.

        Another site may send a browser here, by a form or by a name that it lets point to 127.0.0.1; neither carries both headers right.
        """
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        named = urlsplit(f"//{host}").hostname or ""
        return (not self.server.private or _loopback(named)) and origin in (None, f"http://{host}", f"https://{host}")

    def _refuse(self, status: int, reason: str, unread: int = 0) -> None:
        """Answer with an error and end the connection, whose body may not have been read."""
        self.close_connection = True
        self._say(status, {"error": reason})
        end = time.monotonic() + DRAIN_S
        while unread > 0 and time.monotonic() < end and (block := self.rfile.read1(min(unread, 1 << 20))):
            unread -= len(block)

    def _say(self, status: int, content: dict[str, object]) -> None:
        self._send(status, "application/json", json.dumps(content).encode())

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self._head(status, kind, len(content))
        self.wfile.write(content)
        self.wfile.flush()

    def _send_file(self, path: Path) -> None:
        with path.open("rb") as file:
            self._head(200, "audio/wav", path.stat().st_size)
            shutil.copyfileobj(file, self.wfile, 1 << 18)

    def _head(self, status: int, kind: str, length: int) -> None:
        self.send_response(status)
        closing = {"Connection": "close"} if self.close_connection else {}
        for name, value in {"Content-Type": kind, "Content-Length": str(length), **_HEADERS, **closing}.items():
            self.send_header(name, value)
        self.end_headers()

    def handle(self) -> None:
        """Answer until the connection ends; a client that goes away is no error."""
        with contextlib.suppress(ConnectionError, TimeoutError):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        """Keep the terminal for what went wrong."""


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _name(query: str) -> str:
    """Return the recording's name for messages: printable and short."""
    name = parse_qs(query).get("name", [""])[0]
    return "".join(letter for letter in name if letter.isprintable())[:NAME_LENGTH] or "The recording"


def _settings(query: str) -> Settings:
    words = parse_qs(query)
    narrow, cutoff = (words.get(key, [""])[0] for key in ("narrow", "cutoff"))
    try:
        return Settings(int(narrow) if narrow else None, float(cutoff) if cutoff else None)
    except (ValueError, OverflowError) as error:
        if isinstance(error, LcmError):
            raise
        raise LcmError(f"narrow={narrow!r}, cutoff={cutoff!r}: expected numbers in Hz, or nothing.") from error
