"""The cases by name: what is compared with what, under which load."""

import os
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from . import peers, places
from .load import Load, run as send
from .measure import Entry, Row, add_ratios, first_token, interleaved, warm_up
from .peers import Contender, usher

PRICE = ["cpu", "ratio", "rate", "p50", "p99", "memory"]


@dataclass
class Setting:
    """What the command line asks for."""

    runs: int
    seconds: float
    binaries: dict
    only: str
    progress: object

    def wanted(self, entries: list) -> list:
        """The entries that `--only` leaves; the first one is what others are compared with."""
        kept = [entry for entry in entries if self.only in entry.contender.name]
        return kept if entries[0] in kept else [entries[0], *kept]


@dataclass
class Table:
    """A finished case."""

    title: str
    rows: list
    figures: list
    ratio_to: str = ""


def few(algorithm: str = "RS256") -> Path:
    """1,000 tokens."""
    return places.tokens(algorithm, "few", places.FEW)


def many(algorithm: str = "RS256") -> Path:
    """100,000 tokens."""
    return places.tokens(algorithm, "many", places.MANY)


def compared(setting: Setting, title: str, entries: list, figures: list = PRICE) -> Table:
    """Entries measured in turn, with ratios to the first."""
    rows = interleaved(setting.wanted(entries), setting.runs, setting.binaries, setting.progress)
    add_ratios(rows, rows[0])
    return Table(title, rows, figures, rows[0].name)


def main(setting: Setting) -> Table:
    """An authenticated request beside a plain proxy's."""
    load = Load(few(), setting.seconds)
    es256 = Load(few("ES256"), setting.seconds)
    entries = [Entry(contender, load) for contender in (
        peers.NGINX, peers.HAPROXY, peers.haproxy_jwt("RS256"), peers.ENVOY, peers.ENVOY_JWT,
        usher("usher, RS256"), usher("usher, RS256, access log on", ACCESS="true"), peers.FLOOR)]
    entries.insert(3, Entry(peers.haproxy_jwt("ES256"), es256))
    return compared(setting, "RS256, 1,000 tokens, 100-byte answers, 64 connections", entries)


def fresh(setting: Setting) -> Table:
    """Every token seen for the first time."""
    rows = []
    for algorithm in ("RS256", "ES256"):
        # Other tokens than those that are measured, so that caches hold none of them.
        warm = Load(few(algorithm), 1)
        load = Load(many(algorithm), setting.seconds, once=True)
        entries = [Entry(peers.haproxy_jwt(algorithm), load, warm),
                   Entry(usher(f"usher, {algorithm}"), load, warm)]
        rows += compared(setting, "", entries).rows
    return Table("Every token seen for the first time", rows, ["cpu", "ratio", "rate"], "HAProxy")


def many_tokens(setting: Setting) -> Table:
    """A hundred thousand tokens in rotation."""
    warm = Load(many(), 8, once=True)
    entries = [Entry(usher("usher, 1,000 tokens"), Load(few(), setting.seconds)),
               Entry(usher("usher, 100,000 tokens"), Load(many(), setting.seconds), warm)]
    return compared(setting, "100,000 tokens in rotation, all of them cached", entries)


def routes(setting: Setting) -> Table:
    """A thousand routes and a hundred issuers."""
    places.DATA.mkdir(parents=True, exist_ok=True)
    last = places.tokens("RS256", "last", places.FEW)

    def entry(name: str, paths: list, issuers: int, tokens: Path, asked: tuple) -> Entry:
        template = written(f"usher-{len(paths)}-{issuers}-{paths[0].count('/')}.yaml", paths, issuers)
        return Entry(usher(name, template), Load(tokens, setting.seconds, paths=asked))

    spread = [f"/area-{index}/**" for index in range(1_000)]
    nested = [f"/api/v1/area-{index}/**" for index in range(1_000)]
    entries = [
        entry("1 route, 1 issuer", ["/area-0/**"], 1, few(), ("/area-0/item",)),
        entry("1,000 routes, each with a first segment of its own, 100 issuers, the last of each",
              spread, 100, last, ("/area-999/item",)),
        entry("1,000 routes below /api/v1, 100 issuers, the last of each",
              nested, 100, last, ("/api/v1/area-999/item",)),
    ]
    return compared(setting, "Routes and issuers", entries, ["cpu", "ratio"])


def written(name: str, paths: list, issuers: int) -> str:
    """A template of usher with these routes and issuers; its absolute path."""
    base = (places.CONTENDERS / "usher.yaml").read_text()
    if issuers > 1:
        extra = "".join(
            f"  - {{ name: issuer-{index}, issuer: 'https://issuer-{index}.example.com/', "
            "jwks_file: @DATA@/jwks.json, audiences: [app], algorithms: [RS256] }\n"
            for index in range(1, issuers))
        base = base.replace("headers:\n", f"{extra}headers:\n", 1)
    base += "routes:\n" + "".join(f"  - {{ path: '{path}', require: {{ roles: [user] }} }}\n" for path in paths)
    file = places.DATA / name
    file.write_text(base)
    return str(file)


def workers(setting: Setting) -> Table:
    """One worker and two."""
    load = Load(few(), setting.seconds, cores="0,1")
    entries = [Entry(usher("usher, 1 worker"), load, cores="0,1"),
               Entry(usher("usher, 2 workers", WORKERS=2), load, cores="0,1")]
    return compared(setting, "Workers, all on the same two cores", entries, ["cpu", "ratio", "rate", "p99"])


def latency(setting: Setting) -> Table:
    """Latency at half of nginx's peak, requests sent by the clock."""
    with peers.upstream() as upstream, peers.Running(peers.NGINX, upstream.port) as nginx:
        upstream.wait("")
        nginx.wait("")
        peak = send(Load(few(), setting.seconds), nginx.port, "nginx")
    rate = int(peak.requests / peak.seconds / 2)
    contenders = [peers.NGINX, peers.HAPROXY, peers.ENVOY_JWT, usher("usher, RS256"), peers.FLOOR]
    entries = setting.wanted([Entry(contender, Load(few(), 1)) for contender in contenders])
    rows = [Row(entry.contender.name) for entry in entries]
    with peers.upstream() as upstream:
        upstream.wait("")
        for run in range(setting.runs):
            for entry, row in zip(entries, rows):
                setting.progress(f"run {run + 1} of {setting.runs}: {row.name} at {rate} requests/s")
                with peers.Running(entry.contender, upstream.port, "0", setting.binaries) as peer:
                    peer.wait(first_token(few()))
                    send(entry.load, peer.port, row.name)
                    row.add(**paced(peer.port, rate, setting))
    add_ratios(rows, rows[0], "p99")
    return Table(f"Latency at {rate:,} requests/s, half of nginx's peak in this run", rows,
                 ["p50", "p99", "ratio", "rate"], rows[0].name)


def paced(port: int, rate: int, setting: Setting) -> dict:
    """One run of the paced load."""
    command = ["taskset", "-c", "1", setting.binaries["pacer"], str(port), str(rate),
               str(round(setting.seconds)), few()]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    figures = dict(zip(answer[0::2], map(float, answer[1::2])))
    return {"p50": figures["p50"], "p99": figures["p99"], "rate": figures["rate"]}


def forward_auth(setting: Setting) -> Table:
    """usher asked by other proxies: alone, by nginx, by Envoy."""
    described = ("X-Original-Method: GET", "X-Original-URI: /", "X-Forwarded-Proto: http", "X-Forwarded-For: 192.0.2.1")
    question = Load(few(), setting.seconds, paths=("/_usher/auth",), headers=described)
    load = Load(few(), setting.seconds)

    def asked(name: str = "usher") -> Contender:
        return usher(name, "usher-asked.yaml", GRPC=grpc)

    grpc = peers.free_port()
    nothing = Contender("nginx, return 200", "nginx-return.conf")
    by_nginx = Contender("nginx, auth_request to usher", "nginx-auth-request.conf", checks_tokens=True)
    by_envoy = Contender("Envoy, ext_authz (gRPC) to usher", "envoy-ext-authz.yaml", {"GRPC": grpc}, True)
    groups = [
        [Entry(nothing, question), Entry(asked("usher, a question of nginx"), question),
         Entry(peers.FLOOR_ASKED, question)],
        [Entry(Contender("nginx, auth_request to return 200", "nginx-auth-request.conf"), load, asked=nothing),
         Entry(by_nginx, load, asked=asked())],
        [Entry(peers.ENVOY_JWT, load), Entry(by_envoy, load, asked=asked())],
    ]
    rows = [row for entries in groups for row in compared(setting, "", entries).rows]
    title = "Asked by other proxies; processor time of all of them, each pair beside its first"
    return Table(title, rows, PRICE, "the first of each pair")


def transport(setting: Setting) -> Table:
    """TLS and HTTP/2 from the client, a Unix socket to the app, beside nginx in the same shapes."""
    places.certificate()
    tls, http2 = peers.free_port(), peers.free_port()
    words = {"TLS": tls, "HTTP": http2}
    shapes = [
        ("HTTP/1.1 to HTTP/1.1", "transport", Load(few(), setting.seconds)),
        ("TLS 1.3 to HTTP/1.1", "transport", Load(few(), setting.seconds, port=tls, spoken="https")),
        ("HTTP/2 to HTTP/1.1, one token", "transport", Load(few(), setting.seconds, port=http2, spoken="h2c")),
        ("HTTP/1.1 to a Unix socket", "unix", Load(few(), setting.seconds)),
    ]
    rows = []
    for name, template, load in shapes:
        entries = [Entry(Contender(f"nginx, {name}", f"nginx-{template}.conf", words), load),
                   Entry(usher(f"usher, {name}", f"usher-{template}.yaml", **words), load)]
        rows += compared(setting, "", entries).rows
    title = "Transports; each shape of nginx's, without authentication, and usher's beside it"
    return Table(title, rows, ["cpu", "ratio", "rate"], "nginx in the same shape")


def memory(setting: Setting) -> Table:
    """Resident memory at rest, with many tokens seen, and for each idle connection."""
    idle = min(10_000, peers.raise_limit() - 300)
    contenders = [peers.NGINX, peers.HAPROXY, peers.ENVOY, peers.ENVOY_JWT, usher("usher, RS256")]
    entries = setting.wanted([Entry(contender, Load(many(), 10, once=True)) for contender in contenders])
    rows = [Row(entry.contender.name) for entry in entries]
    token = first_token(few())
    with peers.upstream() as upstream:
        upstream.wait("")
        for entry, row in zip(entries, rows):
            setting.progress(row.name)
            with peers.Running(entry.contender, upstream.port, "0", setting.binaries) as peer:
                peer.wait(token)
                time.sleep(1)
                row.add(rest=peer.memory_bytes() / 1e6)
                connections = idle_connections(peer.port, token, idle)
                row.add(idle=(peer.memory_bytes() - row.figures["rest"][0] * 1e6) / idle / 1000)
                for connection in connections:
                    connection.close()
            if entry.contender.checks_tokens:
                with peers.Running(entry.contender, upstream.port, "0", setting.binaries) as peer:
                    peer.wait(token)
                    warm_up(entry.load, peer.port, row.name)
                    row.add(full=peer.memory_bytes() / 1e6)
    return Table(f"Memory; {idle:,} idle connections that each sent one request", rows, ["rest", "full", "idle"])


def idle_connections(port: int, token: str, count: int) -> list:
    """Connections that were used once and wait."""
    connections = []
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", port), 10)
        connection.sendall(peers.request(token))
        if not connection.recv(4096).startswith(b"HTTP/1.1 200"):
            raise SystemExit("an idle connection's one request was not answered with 200")
        connections.append(connection)
    time.sleep(1)
    return connections


def start(setting: Setting) -> Table:
    """From starting the process to the first 200 of `/readyz`, with keys in a file."""
    few()
    row = Row("usher")
    row.add(binary=os.stat(setting.binaries["usher"]).st_size / 1e6)
    for run in range(max(setting.runs, 20)):
        setting.progress(f"start {run + 1}")
        begun = time.perf_counter()
        with peers.Running(usher(), 1, "0", setting.binaries) as peer:
            while not ready(peer.admin):
                if time.perf_counter() - begun > 10:
                    raise SystemExit("usher is not ready after 10 s")
                time.sleep(0.0005)
            row.add(ready=(time.perf_counter() - begun) * 1000)
    return Table("Start, and the stripped binary", [row], ["ready", "binary"])


def ready(port: int) -> bool:
    """Whether `/readyz` says 200."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


CASES = {
    "main": main,
    "memory": memory,
    "start": start,
    "fresh": fresh,
    "many": many_tokens,
    "latency": latency,
    "routes": routes,
    "workers": workers,
    "forward-auth": forward_auth,
    "transport": transport,
}
NEEDS = {"main": ["floor"], "forward-auth": ["floor"], "latency": ["floor", "pacer"]}
