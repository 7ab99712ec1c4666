"""hmac.c against Python's hmac."""

import hmac
import random
import subprocess

import pytest

from bnn_compiler import target as targets
from bnn_compiler.deploy.cpu.link import toolchain
from bnn_compiler.deploy.cpu.trial import executable
from bnn_compiler.device import program

SOURCE = """
#include <stdio.h>
#include "hmac.h"

static size_t read_part(uint8_t *to) {
  unsigned size = 0;
  if (fread(&size, 4, 1, stdin) != 1 || fread(to, 1, size, stdin) != size) return (size_t)-1;
  return size;
}

int main(void) {
  static uint8_t key[4096], data[4096], mac[HMAC_BYTES], other[4096];
  for (size_t k, d; (k = read_part(key)) != (size_t)-1;) {
    d = read_part(data);
    read_part(other);
    hmac_sha256(key, k, data, d, mac);
    fwrite(mac, 1, sizeof mac, stdout);
    putchar(hmac_equal(mac, other));
  }
  return 0;
}
"""


@pytest.fixture(scope="module")
def codes(tmp_path_factory):
    """[(HMAC, whether it equals the third)] of [(key, data, 32 bytes)]."""
    folder = tmp_path_factory.mktemp("hmac")
    native = targets.load("native")
    (folder / "main.c").write_text(SOURCE)
    files = [folder / "main.c", program.HERE / "hmac.c"]
    executable(toolchain(native.arch, native.link), folder / "main", files, static=False)

    def run(cases):
        data = b"".join(len(p).to_bytes(4, "little") + p for case in cases for p in case)
        out = subprocess.run([folder / "main"], input=data, capture_output=True, check=True).stdout
        assert len(out) == 33 * len(cases)
        return [(out[i : i + 32], bool(out[i + 32])) for i in range(0, len(out), 33)]

    return run


def test_it_is_hmac_sha256(codes):
    draw = random.Random(0).randbytes
    around = [0, 1, 31, 32, 33, 54, 55, 56, 57, 63, 64, 65, 118, 119, 120, 127, 128, 129, 1000]
    cases = [(draw(k), draw(d), bytes(32)) for k in around for d in around]
    expected = [hmac.digest(k, d, "sha256") for k, d, _ in cases]
    assert [mac for mac, _ in codes(cases)] == expected


def test_one_bit_makes_two_codes_differ(codes):
    mac = hmac.digest(b"key", b"data", "sha256")
    others = [mac]
    for bit in range(256):
        changed = bytearray(mac)
        changed[bit // 8] ^= 1 << bit % 8
        others.append(bytes(changed))
    equal = [same for _, same in codes([(b"key", b"data", other) for other in others])]
    assert equal == [True] + [False] * 256
