"""Makes the keys, once, and a file of signed tokens. Runs in the virtual environment."""

import base64
import json
import sys
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

# The year 2100: the files stay good.
END = 4_102_444_800


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int, size: int) -> str:
    return encode(value.to_bytes(size, "big"))


def keys(folder: Path) -> dict:
    """The two private keys; public halves for HAProxy (PEM), Envoy and usher (a key set)."""
    found = {}
    made = {
        "RS256": lambda: rsa.generate_private_key(65537, 2048),
        "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    }
    for name, make in made.items():
        file = folder / f"{name}.key.pem"
        if not file.exists():
            file.write_bytes(make().private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ))
        key = serialization.load_pem_private_key(file.read_bytes(), None)
        (folder / f"{name}.pub.pem").write_bytes(key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
        found[name] = key
    public = found["RS256"].public_key().public_numbers()
    curve = found["ES256"].public_key().public_numbers()
    (folder / "jwks.json").write_text(json.dumps({"keys": [
        {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "rs256",
         "n": number(public.n, 256), "e": number(public.e, 3)},
        {"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "es256",
         "x": number(curve.x, 32), "y": number(curve.y, 32)},
    ]}))
    return found


def sign(key, text: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(text, padding.PKCS1v15(), hashes.SHA256())
    r, s = decode_dss_signature(key.sign(text, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def main() -> None:
    folder, algorithm, set_name, count = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    folder.mkdir(parents=True, exist_ok=True)
    key = keys(folder)[algorithm]
    issuer = "https://issuer-99.example.com/" if set_name == "last" else "https://idp.example.com/"
    header = encode(json.dumps(
        {"alg": algorithm, "kid": algorithm.lower(), "typ": "JWT"}, separators=(",", ":")).encode())
    file = folder / f"{algorithm}.{set_name}.{count}.txt"
    unfinished = file.with_suffix(".part")
    with unfinished.open("w") as out:
        for index in range(count):
            claims = {
                "iss": issuer, "aud": "app", "sub": f"user-{set_name}-{index:06}",
                "email": f"user-{index:06}@example.com", "name": "Ada Lovelace",
                "roles": ["user", "editor"], "scope": "openid read write",
                "iat": 1_700_000_000, "exp": END, "jti": f"{index:08x}",
            }
            body = encode(json.dumps(claims, separators=(",", ":")).encode())
            text = f"{header}.{body}"
            out.write(f"{text}.{encode(sign(key, text.encode()))}\n")
    unfinished.rename(file)


main()
