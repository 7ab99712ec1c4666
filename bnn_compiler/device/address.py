"""Where boards are: what --device takes."""

import re
from dataclasses import dataclass

from bnn_compiler.errors import DeviceError

_FORMS = "tracker://HOST:PORT/KEY or rpc://HOST:PORT/KEY"


@dataclass(frozen=True)
class Address:
    """A tracker's boards of one key (``farm``), or the one board at ``host``:``port``."""

    farm: bool
    host: str
    port: int
    key: str

    @staticmethod
    def parse(text: str) -> "Address":
        """From the command line. Raises DeviceError for anything but the two forms."""
        found = re.fullmatch(r"(tracker|rpc)://([^/:]+|\[[^]]+\]):(\d+)/([\w.-]+)", text)
        if not found or not 0 < int(found[3]) < 65536:
            raise DeviceError(f"--device {text}: give {_FORMS}")
        return Address(found[1] == "tracker", found[2].strip("[]"), int(found[3]), found[4])

    @property
    def where(self) -> str:
        """HOST:PORT."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{'tracker' if self.farm else 'rpc'}://{self.where}/{self.key}"
