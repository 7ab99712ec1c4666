"""The secret that a board's server and its clients share (secret.h has the exchange)."""

import hmac
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from bnn_compiler.errors import DeviceError

#: Bytes of a nonce and of a proof.
NONCE, PROOF = 32, 32
#: Bytes of a secret, as in secret.c.
_LEAST, _MOST = 16, 1024


@dataclass(frozen=True)
class Secret:
    """Never shown: neither printed nor sent, only proofs of it."""

    _bytes: bytes = field(repr=False)

    @staticmethod
    def read(path: str | Path) -> "Secret":
        """From a file, without the end of its line.

        Raises DeviceError for a file that others can read, or of another size than 16 to 1024
        bytes.
        """
        try:
            with Path(path).open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                data = file.read(_MOST + 3)
        except OSError as e:
            raise DeviceError(f"--secret {path}: {e.strerror}") from e
        if stat.S_IMODE(mode) & 0o077:
            raise DeviceError(
                f"--secret {path}: others can read it: chmod 600 it, and make a new secret if they"
                " may have"
            )
        data = data.rstrip(b"\r\n")
        if not _LEAST <= len(data) <= _MOST:
            raise DeviceError(
                f"--secret {path}: a secret has {_LEAST} to {_MOST} bytes, e.g. of"
                " `head -c 32 /dev/urandom | base64`"
            )
        return Secret(data)

    def proof(self, role: bytes, server_nonce: bytes, client_nonce: bytes, match: str) -> bytes:
        """Of ``role`` (bnn-client, bnn-server): what only those can tell who know the secret."""
        message = role + server_nonce + client_nonce + match.encode()
        return hmac.digest(self._bytes, message, "sha256")
