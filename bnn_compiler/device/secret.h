/* The secret that server and clients share, read from a file and never shown.
 *
 * After TVM's handshake (greet.c), and before anything else:
 *
 *   client -> server   "client:MATCH -secret", in the handshake
 *   server -> client   "server:KEY -secret", in the handshake, then NONCE_S (32 random bytes)
 *   client -> server   NONCE_C (32 random bytes), HMAC(secret, "bnn-client" NONCE_S NONCE_C MATCH)
 *   server -> client   RPC_MAGIC,                 HMAC(secret, "bnn-server" NONCE_S NONCE_C MATCH)
 *
 * or RPC_MISMATCH, and the end. The client proves itself first, so that whoever merely connects
 * gets nothing to try guesses on. device/secret.py is the other side.
 */
#ifndef BNN_SECRET_H
#define BNN_SECRET_H

#include "hmac.h"

enum { NONCE_BYTES = 32 };

/* Whether clients have to know a secret. */
extern int secret_wanted;

/* Reads the file; what is wrong with it, or NULL. */
const char *secret_read(const char *path);

/* The proof of ``role`` (bnn-client, bnn-server). */
void secret_proof(const char *role, const uint8_t *server_nonce, const uint8_t *client_nonce,
                  const char *match, uint8_t proof[HMAC_BYTES]);

/* For processes that have no use for it. */
void secret_forget(void);

#endif
