/* Clients from their first byte to their turn.
 *
 * TVM's handshake, the proof of the secret (secret.h) and the first byte of a session have to come
 * within GREET_SECONDS, however they are cut into pieces. None waits for another: where there is no
 * room, the one that has been at it for longest has to go.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "secret.h"
#include "server.h"

enum { GREET_SECONDS = 5, MOST_WAITING = 16, MOST_AT_ONCE = 16, MOST_WORDS = 512 };

/* What is waited for; LEAVING: the client's end, so that it reads why it was refused. */
typedef enum { HELLO, PROOF, FIRST, TURN, LEAVING, GONE } State;

typedef struct {
  int fd;
  State state;
  long end;
  size_t have;
  char bytes[8 + MOST_WORDS + 1];
  char match[MOST_MATCH];
  uint8_t nonce[NONCE_BYTES];
} Guest;

/* In the order they came. */
static Guest guests[MOST_GUESTS];
static int count;

static int waiting(void) {
  int found = 0;
  for (int i = 0; i < count; ++i) found += guests[i].state == TURN;
  return found;
}

static void forget_gone(void) {
  int kept = 0;
  for (int i = 0; i < count; ++i) {
    if (guests[i].state == GONE) {
      close(guests[i].fd);
      continue;
    }
    if (kept != i) guests[kept] = guests[i];
    ++kept;
  }
  count = kept;
}

/* The next of them, or -1. */
static int accept_one(int listener) {
  int on = 1, fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
  if (fd < 0) {
    /* Without descriptors or memory the listener stays readable. */
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
      poll(NULL, 0, 100);
    return -1;
  }
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* answers are short */
  return fd;
}

void guests_accept(int listener) {
  /* Not all at once: those who have something to say get to say it. */
  for (int i = 0; i < MOST_AT_ONCE; ++i) {
    int fd = accept_one(listener);
    if (fd < 0) return;
    for (int k = 0; count == MOST_GUESTS; ++k)
      if (guests[k].state != TURN) {
        guests[k].state = GONE;
        forget_gone();
      }
    guests[count++] = (Guest){.fd = fd, .state = HELLO, .end = now_ms() + 1000L * GREET_SECONDS};
  }
}

int guests_watch(struct pollfd *waits) {
  for (int i = 0; i < count; ++i)
    waits[i] = (struct pollfd){guests[i].fd, guests[i].state == TURN ? POLLRDHUP : POLLIN, 0};
  return count;
}

long guests_end(void) {
  long end = LONG_MAX;
  for (int i = 0; i < count; ++i)
    if (guests[i].state != TURN && guests[i].end < end) end = guests[i].end;
  return end;
}

/* Answers are shorter than any socket's buffer: nobody is waited for. */
static int send_now(int fd, const void *at, size_t size) {
  return send(fd, at, size, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)size;
}

static int send_hello(int fd, const char *words) {
  char answer[8 + MOST_KEY + 32];
  int32_t head[2] = {RPC_MAGIC, (int32_t)strlen(words)};
  memcpy(answer, head, sizeof head);
  memcpy(answer + sizeof head, words, strlen(words));
  return send_now(fd, answer, sizeof head + strlen(words));
}

static State leave(int fd) {
  shutdown(fd, SHUT_WR);
  return LEAVING;
}

static State mismatch(int fd) {
  const int32_t code = RPC_MISMATCH;
  return send_now(fd, &code, sizeof code) ? leave(fd) : GONE;
}

/* Takes what is there of ``size`` bytes, and none behind them: 1 all, 0 not yet, -1 never. */
static int fill(Guest *g, size_t size) {
  if (g->have < size) {
    ssize_t n = recv(g->fd, g->bytes + g->have, size - g->have, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (n <= 0) return -1;
    g->have += (size_t)n;
  }
  return g->have == size;
}

static State hello(Guest *g, const char *match) {
  int32_t head[2];
  int ready = fill(g, sizeof head);
  if (ready <= 0) return ready ? GONE : HELLO;
  memcpy(head, g->bytes, sizeof head);
  if (head[0] != RPC_MAGIC || head[1] <= 0 || head[1] >= MOST_WORDS) return mismatch(g->fd);
  ready = fill(g, sizeof head + (size_t)head[1]);
  if (ready <= 0) return ready ? GONE : HELLO;
  /* "client:MATCH -option ..." */
  char *words = g->bytes + sizeof head, *rest = NULL, mine[MOST_KEY + 32];
  words[head[1]] = 0;
  char *name = strtok_r(words, " ", &rest);
  if (!*match || !name || strncmp(name, "client:", 7) || strcmp(name + 7, match))
    return mismatch(g->fd);
  int offered = 0;
  for (char *option; (option = strtok_r(NULL, " ", &rest));) offered |= !strcmp(option, "-secret");
  int proves = secret_wanted && offered;
  snprintf(mine, sizeof mine, "server:%s%s", key, proves ? " -secret" : "");
  snprintf(g->match, sizeof g->match, "%s", match);
  g->have = 0;
  if (!send_hello(g->fd, mine)) return GONE;
  if (!secret_wanted) return FIRST;
  if (!proves) {
    /* The answer to what TVM's client, which knows no secrets, asks next. */
    put_error(g->fd, "this board asks for a secret: give --secret FILE");
    return leave(g->fd);
  }
  if (getrandom(g->nonce, sizeof g->nonce, 0) != sizeof g->nonce) return GONE;
  return send_now(g->fd, g->nonce, sizeof g->nonce) ? PROOF : GONE;
}

static State proof(Guest *g) {
  uint8_t expected[HMAC_BYTES], answer[4 + HMAC_BYTES];
  const int32_t code = RPC_MAGIC;
  int ready = fill(g, NONCE_BYTES + HMAC_BYTES);
  if (ready <= 0) return ready ? GONE : PROOF;
  const uint8_t *nonce = (const uint8_t *)g->bytes;
  secret_proof("bnn-client", g->nonce, nonce, g->match, expected);
  if (!hmac_equal(expected, nonce + NONCE_BYTES)) return mismatch(g->fd);
  memcpy(answer, &code, sizeof code);
  secret_proof("bnn-server", g->nonce, nonce, g->match, answer + sizeof code);
  return send_now(g->fd, answer, sizeof answer) ? FIRST : GONE;
}

/* A byte stays where it is: it is the session's. */
static State first(Guest *g) {
  char byte;
  ssize_t n = recv(g->fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return FIRST;
  return n <= 0 || waiting() == MOST_WAITING ? GONE : TURN;
}

static State leaving(Guest *g) {
  ssize_t n = recv(g->fd, g->bytes, sizeof g->bytes, MSG_DONTWAIT);
  return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)) ? LEAVING : GONE;
}

static State step(Guest *g, const char *match) {
  switch (g->state) {
    case HELLO:
      return hello(g, match);
    case PROOF:
      return proof(g);
    case FIRST:
      return first(g);
    case LEAVING:
      return leaving(g);
    default:
      return GONE; /* it left before its turn */
  }
}

void guests_advance(const struct pollfd *waits, const char *match) {
  long now = now_ms();
  for (int i = 0; i < count; ++i) {
    Guest *g = &guests[i];
    if (waits[i].revents) g->state = step(g, match);
    if (g->state != TURN && now >= g->end) g->state = GONE;
  }
  forget_gone();
}

int guests_next(void) {
  for (int i = 0; i < count; ++i) {
    if (guests[i].state != TURN) continue;
    int fd = guests[i].fd;
    memmove(guests + i, guests + i + 1, (size_t)(--count - i) * sizeof *guests);
    return fd;
  }
  return -1;
}

void guests_close(void) {
  for (int i = 0; i < count; ++i) close(guests[i].fd);
}
