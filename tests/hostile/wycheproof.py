"""Wycheproof's signatures, over words that usher reads.

The suites sign the word `foo`, which is no token: a verifier of tokens refuses it whatever its signature
is. So each signature is made again, over claims that are good, with the private key that stands beside
it, and with the same fault: what an RSA signature hides is opened with the public key, the hash in it is
replaced, and it is closed again. Signatures that are numbers chosen to fool (zero, the group's order) are
set under good claims as they are.

Arguments: a suite, the claims. Each line that is printed is a group: its public keys, the tokens that must
be refused for their signatures alone, those that are no tokens in their form, and one that is good.
"""

import base64
import hashlib
import json
import sys

P256 = 2**256 - 2**224 + 2**192 + 2**96 - 1
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
BASE = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
PRIVATE = {"d", "p", "q", "dp", "dq", "qi"}
PREFIX = {
    "256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "512": bytes.fromhex("3051300d060960864801650304020305000440"),
}


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(jwk, name):
    return int.from_bytes(decode(jwk[name]), "big")


def digest(algorithm, data):
    return hashlib.new("sha" + algorithm[2:], data).digest()


def rsa(jwk, padded):
    size = (number(jwk, "n").bit_length() + 7) // 8
    message, p, q = int.from_bytes(padded, "big"), number(jwk, "p"), number(jwk, "q")
    one, other = pow(message % p, number(jwk, "dp"), p), pow(message % q, number(jwk, "dq"), q)
    return (other + q * ((one - other) * number(jwk, "qi") % p)).to_bytes(size, "big")


def pad(jwk, algorithm, message):
    size = (number(jwk, "n").bit_length() + 7) // 8
    inner = PREFIX[algorithm[2:]] + digest(algorithm, message)
    return b"\0\1" + b"\xff" * (size - 3 - len(inner)) + b"\0" + inner


def pkcs1(jwk, algorithm, message):
    return rsa(jwk, pad(jwk, algorithm, message))


def mask(algorithm, seed, length):
    made = b""
    while len(made) < length:
        made += digest(algorithm, seed + (len(made) // len(digest(algorithm, b""))).to_bytes(4, "big"))
    return made[:length]


def pss(jwk, algorithm, message):
    bits = number(jwk, "n").bit_length() - 1
    size, salt = (bits + 7) // 8, b"\x5a" * len(digest(algorithm, b""))
    hashed = digest(algorithm, bytes(8) + digest(algorithm, message) + salt)
    block = bytes(size - len(salt) - len(hashed) - 2) + b"\1" + salt
    masked = bytes(a ^ b for a, b in zip(block, mask(algorithm, hashed, len(block))))
    masked = bytes([masked[0] & (0xFF >> (8 * size - bits))]) + masked[1:]
    return rsa(jwk, masked + hashed + b"\xbc")


def add(one, other):
    if one is None or other is None:
        return one or other
    if one[0] == other[0]:
        if one[1] != other[1]:
            return None
        slope = (3 * one[0] * one[0] - 3) * pow(2 * one[1], -1, P256)
    else:
        slope = (other[1] - one[1]) * pow(other[0] - one[0], -1, P256)
    x = (slope * slope - one[0] - other[0]) % P256
    return x, (slope * (one[0] - x) - one[1]) % P256


def times(point, factor):
    made = None
    while factor:
        if factor & 1:
            made = add(made, point)
        point, factor = add(point, point), factor >> 1
    return made


def ecdsa(jwk, algorithm, message):
    secret = 0x1CE1CEBABE + number(jwk, "d") // 3
    r = times(BASE, secret)[0] % ORDER
    hashed = int.from_bytes(digest(algorithm, message), "big")
    s = pow(secret, -1, ORDER) * (hashed + r * number(jwk, "d")) % ORDER
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


SIGN = {"RS": pkcs1, "PS": pss, "ES": ecdsa}


def sign(jwk, header, claims):
    """A good token, as far as its key goes."""
    algorithm = json.loads(header)["alg"]
    signed = f"{encode(header)}.{encode(claims)}"
    return f"{signed}.{encode(SIGN[algorithm[:2]](jwk, algorithm, signed.encode()))}"


def forge(jwk, token, claims):
    """The same fault over other words, or nothing if its fault is in its form."""
    parts = token.split(".")
    try:
        header, payload, signature = map(decode, parts)
        algorithm = json.loads(header)["alg"]
        if not signature or not payload or encode(signature) != parts[2]:
            return None
    except (ValueError, KeyError, TypeError):
        return None
    signed = f"{parts[0]}.{encode(claims)}"
    if algorithm[:2] == "RS" and len(signature) == len(decode(jwk["n"])):
        padded = pow(int.from_bytes(signature, "big"), number(jwk, "e"), number(jwk, "n"))
        padded = padded.to_bytes(len(signature), "big")
        before = digest(algorithm, f"{parts[0]}.{parts[1]}".encode())
        padded = padded.replace(before, digest(algorithm, signed.encode()))
        if padded == pad(jwk, algorithm, signed.encode()):
            return None
        signature = rsa(jwk, padded)
    return f"{signed}.{encode(signature)}"


def main():
    suite, claims = json.load(open(sys.argv[1])), sys.argv[2].encode()
    for group in suite["testGroups"]:
        key = group.get("public")
        if key is None:
            continue
        entries = key.get("keys", [key])
        private = group["private"].get("keys", [group["private"]])[0]
        forged, odd, control = [], [], None
        for test in group["tests"]:
            token = test["jws"] if isinstance(test["jws"], str) else json.dumps(test["jws"])
            if test["result"] != "invalid" or not token:
                continue
            made = forge(private, token, claims)
            (forged if made else odd).append(made or token)
        algorithm = {"EC": "ES256", "RSA": "RS256"}[private["kty"]] if private.get("crv", "P-256") == "P-256" else None
        if str(private.get("alg"))[:5] in {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}:
            algorithm = private["alg"]
        if algorithm and "n" in private or algorithm == "ES256" and "x" in private:
            control = sign(private, json.dumps({"alg": algorithm, "kid": private["kid"]}).encode(), claims)
        entries = [{name: value for name, value in entry.items() if name not in PRIVATE} for entry in entries]
        print(json.dumps({"comment": group["comment"], "keys": entries, "forged": forged, "odd": odd, "good": control}))


main()
