/* HMAC-SHA256 (RFC 2104, FIPS 180-4), and what goes with it. */
#ifndef BNN_HMAC_H
#define BNN_HMAC_H

#include <stddef.h>
#include <stdint.h>

enum { HMAC_BYTES = 32 };

void hmac_sha256(const uint8_t *key, size_t key_size, const uint8_t *data, size_t size,
                 uint8_t mac[HMAC_BYTES]);

/* Whether two codes are equal, in a time that does not tell where they differ. */
int hmac_equal(const uint8_t *one, const uint8_t *two);

#endif
