#define _GNU_SOURCE
#include "secret.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* As in device/secret.py. */
enum { LEAST_BYTES = 16, MOST_BYTES = 1024 };

int secret_wanted;
static uint8_t secret[MOST_BYTES + 3]; /* a line's end, and one more to know of more */
static size_t secret_size;

const char *secret_read(const char *path) {
  struct stat about;
  ssize_t n = 1;
  size_t size = 0;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &about)) return strerror(errno);
  if (about.st_mode & 077) return "others can read it: chmod 600 it, and make a new secret if they may have";
  while (size < sizeof secret && (n = read(fd, secret + size, sizeof secret - size)) > 0)
    size += (size_t)n;
  if (n < 0) return strerror(errno);
  close(fd);
  while (size && (secret[size - 1] == '\n' || secret[size - 1] == '\r')) --size;
  if (size < LEAST_BYTES) return "a secret has at least 16 bytes";
  if (size > MOST_BYTES) return "a secret has at most 1024 bytes";
  secret_size = size;
  secret_wanted = 1;
  return NULL;
}

void secret_proof(const char *role, const uint8_t *server_nonce, const uint8_t *client_nonce,
                  const char *match, uint8_t proof[HMAC_BYTES]) {
  uint8_t message[1024];
  size_t size = 0;
  const struct {
    const void *at;
    size_t size;
  } parts[] = {{role, strlen(role)},
               {server_nonce, NONCE_BYTES},
               {client_nonce, NONCE_BYTES},
               {match, strlen(match)}};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; ++i) {
    memcpy(message + size, parts[i].at, parts[i].size);
    size += parts[i].size;
  }
  hmac_sha256(secret, secret_size, message, size, proof);
}

void secret_forget(void) { explicit_bzero(secret, sizeof secret); }
