#include "hmac.h"

#include <string.h>

enum { BLOCK = 64 };

typedef struct {
  uint32_t state[8];
  uint64_t total;
  uint8_t block[BLOCK];
} Sha256;

/* The first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotate(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void compress(Sha256 *s) {
  uint32_t w[64], v[8];
  for (int i = 0; i < 16; ++i) {
    const uint8_t *b = s->block + 4 * i;
    w[i] = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
  }
  for (int i = 16; i < 64; ++i) {
    uint32_t a = w[i - 15], b = w[i - 2];
    w[i] = w[i - 16] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) + w[i - 7] +
           (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
  }
  memcpy(v, s->state, sizeof v);
  for (int i = 0; i < 64; ++i) {
    uint32_t a = v[0], e = v[4];
    uint32_t one = v[7] + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) +
                   ((e & v[5]) ^ (~e & v[6])) + K[i] + w[i];
    uint32_t two = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) +
                   ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
    memmove(v + 1, v, 7 * sizeof *v);
    v[4] += one;
    v[0] = one + two;
  }
  for (int i = 0; i < 8; ++i) s->state[i] += v[i];
}

static void start(Sha256 *s) {
  static const uint32_t first[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  memcpy(s->state, first, sizeof first);
  s->total = 0;
}

static void add(Sha256 *s, const uint8_t *data, size_t size) {
  for (size_t i = 0; i < size; ++i) {
    s->block[s->total++ % BLOCK] = data[i];
    if (s->total % BLOCK == 0) compress(s);
  }
}

static void finish(Sha256 *s, uint8_t digest[HMAC_BYTES]) {
  static const uint8_t one = 0x80, zero = 0;
  uint64_t bits = 8 * s->total;
  uint8_t length[8];
  for (int i = 0; i < 8; ++i) length[i] = (uint8_t)(bits >> (56 - 8 * i));
  add(s, &one, 1);
  while (s->total % BLOCK != BLOCK - sizeof length) add(s, &zero, 1);
  add(s, length, sizeof length);
  for (int i = 0; i < HMAC_BYTES; ++i)
    digest[i] = (uint8_t)(s->state[i / 4] >> (24 - 8 * (i % 4)));
}

void hmac_sha256(const uint8_t *key, size_t key_size, const uint8_t *data, size_t size,
                 uint8_t mac[HMAC_BYTES]) {
  Sha256 s;
  uint8_t pad[BLOCK] = {0};
  if (key_size > BLOCK) {
    start(&s);
    add(&s, key, key_size);
    finish(&s, pad);
  } else if (key_size) {
    memcpy(pad, key, key_size);
  }
  for (int i = 0; i < BLOCK; ++i) pad[i] ^= 0x36;
  start(&s);
  add(&s, pad, BLOCK);
  add(&s, data, size);
  finish(&s, mac);
  for (int i = 0; i < BLOCK; ++i) pad[i] ^= 0x36 ^ 0x5c;
  start(&s);
  add(&s, pad, BLOCK);
  add(&s, mac, HMAC_BYTES);
  finish(&s, mac);
}

int hmac_equal(const uint8_t *one, const uint8_t *two) {
  volatile uint8_t differ = 0;
  for (int i = 0; i < HMAC_BYTES; ++i) differ |= one[i] ^ two[i];
  return differ == 0;
}
