"""Rules for the files of TLS, tried by loading them: what a connection will use is what was checked."""

import ssl
from pathlib import Path

from rtmsd.config.rules.values import Mistake


def trust(context: ssl.SSLContext, ca_file: Path) -> None:
    """Have a context trust the authorities of a file, beside others.

    Raises:
        Mistake: it cannot be read, or holds something else.
    """
    try:
        context.load_verify_locations(ca_file)
    except ssl.SSLError:
        raise Mistake(f"{ca_file} holds no PEM certificate") from None
    except OSError as exc:
        raise Mistake(f"cannot read {ca_file}: {exc.strerror}") from None


def present(context: ssl.SSLContext, cert_file: Path, key_file: Path) -> None:
    """Have a context show a certificate to whoever asks for it.

    Raises:
        Mistake: a file cannot be read, or they are not a certificate and its key.
    """
    try:
        context.load_cert_chain(cert_file, key_file, password="")  # else OpenSSL asks the terminal for one
    except ssl.SSLError:
        raise Mistake(
            f"{cert_file} and {key_file} are not a PEM certificate and its key without a passphrase"
        ) from None
    except OSError as exc:
        raise Mistake(f"cannot read {cert_file} or {key_file}: {exc.strerror}") from None
