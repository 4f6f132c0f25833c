"""The certificate authority of a simulator with TLS: temporary, or kept in a file.

A client must trust it before it connects, and some (Node.js with `NODE_EXTRA_CA_CERTS`) read their CAs only at their
start. So the file outlives the simulator: it holds the certificate, with the private key in a file beside it.
"""

import os
import re
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from rtmsd.errors import RtmsdError

if TYPE_CHECKING:
    import trustme

_HINTS: Final = {
    "UNKNOWN_CA": "the client does not trust the CA",
    "CERTIFICATE_UNKNOWN": "the client rejects the certificate; does it expect another name, or an address?",
    "BAD_CERTIFICATE": "the client rejects the certificate; does it expect another name, or an address?",
    "UNEXPECTED_EOF": "the client closed in the middle of the handshake, as some do that reject a certificate",
    "HTTP_REQUEST": "it speaks plain HTTP",
    "UNSUPPORTED_PROTOCOL": "TLS 1.2 is the oldest version spoken here",
}


class AuthorityError(RtmsdError):
    """The CA cannot be created, read or written; the text names the file and the remedy."""


def key_file(ca_file: Path) -> Path:
    """Return the file of the private key of the CA in `ca_file`."""
    return ca_file.with_name(f"{ca_file.name}.key")


def open_authority(ca_file: Path | None) -> "trustme.CA":
    """Return the CA kept in `ca_file`, created if the file is missing or empty; a temporary CA for None.

    The private key is in `key_file`, or in the same file behind the certificate.

    Raises:
        AuthorityError: trustme is not installed, or the file holds no CA with its key.
    """
    try:
        import trustme  # noqa: PLC0415 - an extra: only TLS needs it
    except ImportError as error:
        raise AuthorityError("TLS needs the package trustme: pip install 'rtmsd[demo]'") from error
    if ca_file is None:
        return trustme.CA()
    try:
        pem = ca_file.read_bytes() if ca_file.exists() else b""
        if pem.strip():
            return _load(ca_file, pem)
        authority = trustme.CA()
        ca_file.write_bytes(authority.cert_pem.bytes())
        _write_key(key_file(ca_file), authority.private_key_pem.bytes())
    except OSError as error:
        raise AuthorityError(f"{error.filename or ca_file}: {error.strerror}") from error
    return authority


def server_context(authority: "trustme.CA", hosts: Iterable[str]) -> ssl.SSLContext:
    """Return a context of TLS 1.2 or later that presents a certificate for these names and addresses."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    authority.issue_cert(*dict.fromkeys(hosts)).configure_cert(context)
    return context


def failure_of(error: BaseException) -> str:
    """Return in words why a TLS handshake failed, with a hint at the client's mistake where it is known."""
    if isinstance(error, trio.TooSlowError):
        return "the client sent nothing more"
    reason = getattr(error.__cause__, "reason", None) or ""
    for part, hint in _HINTS.items():
        if part in reason:
            return f"{reason}: {hint}"
    return reason or str(error.__cause__ or error)


def _load(ca_file: Path, pem: bytes) -> "trustme.CA":
    import trustme  # noqa: PLC0415 - an extra
    from cryptography import x509  # noqa: PLC0415 - trustme brings it
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415 - not at every start

    key_path = ca_file if b"PRIVATE KEY" in pem else key_file(ca_file)
    remedy = "remove it, or name a new file"
    if not key_path.exists():
        raise AuthorityError(f"{ca_file}: holds no private key, and there is no {key_path.name} beside it: {remedy}")
    key = _block(key_path.read_bytes(), b"PRIVATE KEY")
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        fits = certificate.public_key() == load_pem_private_key(key, None).public_key()
    except (ValueError, TypeError) as error:  # TypeError: the key is encrypted
        raise AuthorityError(f"{ca_file}: no certificate with a readable private key: {remedy}") from error
    if not fits:
        raise AuthorityError(f"{ca_file}: the private key in {key_path.name} is another certificate's: {remedy}")
    return trustme.CA.from_pem(_block(pem, b"CERTIFICATE"), key)


def _block(pem: bytes, kind: bytes) -> bytes:
    """Return the first PEM block of a kind ("RSA PRIVATE KEY" is a "PRIVATE KEY"), b"" without one."""
    found = re.search(rb"-----BEGIN (?:\w+ )?%b-----.*?-----END (?:\w+ )?%b-----\n?" % (kind, kind), pem, re.DOTALL)
    return found[0] if found else b""


def _write_key(path: Path, pem: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - of a descriptor
        os.fchmod(descriptor, 0o600)
        file.write(pem)
