"""Start SeaweedFS so that nobody gets past its S3 port: all its other ports ask for a certificate.

S3 knows two users: the owner (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), and one that may only read
(S3_READER_ACCESS_KEY, S3_READER_SECRET_KEY).

SeaweedFS' master, volume server and filer obey every client that reaches their ports, by HTTP and
gRPC. Here gRPC and the master's HTTP ask for a certificate that is made at the first start, with
its key in a file that only its owner can read; volume server and filer ask for tokens, which are
signed with keys that nobody else knows. (Not for the certificate: SeaweedFS 4.48 reads encrypted
objects by plain HTTP, whatever its settings say.)
"""

import datetime
import ipaddress
import json
import os
import secrets
import sys
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HOST = "127.0.0.1"  # the name by which its parts know each other
VALID = datetime.timedelta(days=3650)
GRPC = (
    "MASTER",
    "VOLUME",
    "FILER",
    "S3",
    "ADMIN",
    "WORKER",
    "CLIENT",
    "MQ",
    "MSG_BROKER",
    "MSG_AGENT",
)
HTTPS = ("MASTER", "ADMIN")
READING = ("Read", "List")
TOKENS = ("SIGNING", "SIGNING_READ", "FILER_SIGNING", "FILER_SIGNING_READ")


def protected(folder: Path) -> dict[str, str]:
    """Return the variables that make SeaweedFS ask for the certificate, made in `folder` unless it
    exists.
    """
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    if not (certificate.exists() and key.exists()):
        _make(certificate, key)
    pair = {"CERT": str(certificate), "KEY": str(key)}
    found = {f"WEED_GRPC_{part}_{name}": value for part in GRPC for name, value in pair.items()}
    for part in HTTPS:
        found |= {f"WEED_HTTPS_{part}_{name}": value for name, value in pair.items()}
        found[f"WEED_HTTPS_{part}_CA"] = str(certificate)
    found |= {f"WEED_JWT_{name}_KEY": secrets.token_urlsafe(32) for name in TOKENS}
    return found | {"WEED_GRPC_CA": str(certificate)}


def users(folder: Path, owner: tuple[str, str], reader: tuple[str, str]) -> str:
    """Write the users of S3, each an access key and its secret, to a file in `folder`; return the
    option that names it. The reader may get and list objects, and change none.
    """
    path = folder / "users.json"
    rights = {"owner": (owner, ("Admin",)), "reader": (reader, READING)}
    identities = [
        {
            "name": name,
            "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
            "actions": list(actions),
        }
        for name, ((access_key, secret_key), actions) in rights.items()
    ]
    _write(path, json.dumps({"identities": identities}).encode())
    return f"-s3.config={path}"


def _make(certificate: Path, key: Path) -> None:
    """Write a key and a self-signed certificate: every holder of it is trusted as a component."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "object-store")])
    begin = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + VALID)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]),
            critical=False,
        )
        .sign(private, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    plain = serialization.NoEncryption()
    _write(key, private.private_bytes(serialization.Encoding.PEM, form, plain))
    _write(certificate, signed.public_bytes(serialization.Encoding.PEM))


def _write(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


if __name__ == "__main__":
    os.umask(0o077)  # its data and its sockets, too
    temporary = Path(tempfile.mkdtemp(prefix="object-store-"))
    made = protected(temporary)
    access_key, secret_key = (
        os.environ.pop("AWS_ACCESS_KEY_ID"),
        os.environ.pop("AWS_SECRET_ACCESS_KEY"),
    )
    reader = os.environ.pop("S3_READER_ACCESS_KEY"), os.environ.pop("S3_READER_SECRET_KEY")
    option = users(temporary, (access_key, secret_key), reader)
    weed = str(Path(sys.executable).with_name("weed"))
    os.execve(weed, [weed, *sys.argv[1:], option], {**os.environ, **made})
