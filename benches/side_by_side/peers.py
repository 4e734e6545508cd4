"""The contenders: which program with which file, started alone on a core."""

import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import places, processes


@dataclass(frozen=True)
class Contender:
    """A program and its configuration."""

    name: str
    template: str
    words: dict = field(default_factory=dict, hash=False)
    checks_tokens: bool = False


NGINX = Contender("nginx, plain proxy", "nginx.conf")
HAPROXY = Contender("HAProxy, plain proxy", "haproxy.cfg")
ENVOY = Contender("Envoy, plain proxy", "envoy.yaml")
ENVOY_JWT = Contender("Envoy, jwt_authn, cached", "envoy-jwt.yaml", checks_tokens=True)
FLOOR = Contender("usher's line without checks", "")
FLOOR_ASKED = Contender("a yes without any check", "", {"UPSTREAM": 0})


def haproxy_jwt(algorithm: str) -> Contender:
    """HAProxy verifying each token."""
    return Contender(f"HAProxy, jwt_verify {algorithm}", "haproxy-jwt.cfg", {"ALGORITHM": algorithm}, True)


def usher(name: str = "usher", template: str = "usher.yaml", **words) -> Contender:
    """usher with this difference from the template."""
    return Contender(name, template, {"WORKERS": 1, "ACCESS": "false", **words}, True)


class Running:
    """A contender that serves; stopped at the end of the `with` block."""

    def __init__(self, contender: Contender, upstream: int, cores: str = "0", binaries: dict | None = None):
        self.contender = contender
        self.folder = Path(tempfile.mkdtemp(prefix="side-by-side-"))
        # nginx's worker is another user when its master is root.
        self.folder.chmod(0o755)
        self.port, self.admin = free_port(), free_port()
        words = {
            "PORT": self.port, "ADMIN": self.admin, "UPSTREAM": upstream, "DIR": self.folder,
            "DATA": places.DATA, "CONNECTIONS": raise_limit(), "SOCKET": app_socket(upstream or self.port),
            **contender.words,
        }
        program = self.program(words, binaries or {})
        self.log = (self.folder / "log").open("w")
        allowed = {int(core) for core in cores.split(",")}
        self.process = subprocess.Popen(
            list(map(str, program)), stdin=subprocess.DEVNULL, stdout=self.log,
            stderr=subprocess.STDOUT, preexec_fn=lambda: os.sched_setaffinity(0, allowed))

    def program(self, words: dict, binaries: dict) -> list:
        """The command line, its configuration written."""
        template = self.contender.template
        if not template:
            return [binaries["floor"], self.port, words["UPSTREAM"]]
        source = places.CONTENDERS / template
        file = self.folder / source.name
        text = source.read_text()
        file.write_text(re.sub(r"@([A-Z]+)@", lambda match: str(words[match[1]]), text))
        if "nginx" in source.name:
            return [places.need("nginx", "nginx"), "-e", "stderr", "-c", file]
        if source.name.startswith("haproxy"):
            return [places.need("haproxy", "haproxy"), "-db", "-f", file]
        if source.name.startswith("envoy"):
            return [places.envoy(), "-c", file, "--concurrency", 1, "--log-level", "error",
                    "--disable-hot-restart"]
        return [binaries["usher"], "serve", "--config", file]

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def wait(self, token: str) -> None:
        """Until a request with a token is answered; then that one without is refused."""
        for _ in range(500):
            if self.process.poll() is not None:
                break
            try:
                if self.status(token) == 200:
                    break
            except OSError:
                pass
            time.sleep(0.02)
        if self.process.poll() is not None or self.status(token) != 200:
            sys.exit(f"{self.contender.name} does not serve:\n{(self.folder / 'log').read_text()}")
        if self.contender.checks_tokens and self.status("") not in (401, 403):
            sys.exit(f"{self.contender.name} lets requests without a token pass")

    def status(self, token: str) -> int:
        """The status of one request."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(request(token, close=True))
            return int(connection.recv(4096).split()[1])

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        return processes.cpu_seconds(self.process.pid)

    def memory_bytes(self) -> int:
        """Resident memory."""
        return processes.memory_bytes(self.process.pid)


def request(token: str, close: bool = False) -> bytes:
    """One request as wrk sends it."""
    lines = ["GET / HTTP/1.1", "Host: app.example.com", "User-Agent: side-by-side", "Accept: */*"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    if close:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def upstream() -> Running:
    """The app behind every contender, on the load's core."""
    return Running(Contender("upstream", "upstream.nginx.conf"), 0, cores="1")


def app_socket(port: int) -> Path:
    """Where the app on this port can be reached without TCP."""
    return Path(tempfile.gettempdir()) / f"side-by-side-{port}.sock"


def raise_limit() -> int:
    """Takes all the descriptors there may be; contenders inherit that. The connections that a
    proxy may have with them: HAProxy counts two descriptors for each, and a few."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = 50_000
    if most == resource.RLIM_INFINITY or most > enough:
        most = enough
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    return (most - 100) // 2


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
