/* The board's side of TVM's tracker, as tvm/rpc/server.py has it. */
#define _GNU_SOURCE
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server.h"

/* As in tvm/rpc/base.py. */
enum { TRACKER_MAGIC = 0x2f271, TRACKER_PUT = 3, TRACKER_UPDATE_INFO = 5, TRACKER_PENDING = 7 };
enum { PING_SECONDS = 2, UNMATCHED_PINGS = 3, RETRY_SECONDS = 2, PATIENCE_SECONDS = 10 };

const char *tracker, *announce;
int only_from_here;
static int fd = -1, unmatched;
static long next;
static char match[MOST_MATCH];

static int is_loopback(const struct sockaddr *address) {
  const struct sockaddr_in *four = (const void *)address;
  const struct sockaddr_in6 *six = (const void *)address;
  if (address->sa_family == AF_INET) return ntohl(four->sin_addr.s_addr) >> 24 == 127;
  return address->sa_family == AF_INET6 &&
         (IN6_IS_ADDR_LOOPBACK(&six->sin6_addr) ||
          (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr) && six->sin6_addr.s6_addr[12] == 127));
}

static int connect_tracker(void) {
  char host[128];
  const char *colon = strrchr(tracker, ':'), *from = tracker;
  int length = (int)(colon - tracker);
  if (*from == '[' && length > 1 && from[length - 1] == ']') ++from, length -= 2;
  snprintf(host, sizeof host, "%.*s", length, from);
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
  if (getaddrinfo(host, colon + 1, &hints, &found)) return -1;
  /* A tracker without power does not hang up, and must not hold up clients. */
  struct timeval patience = {PATIENCE_SECONDS, 0};
  int to = -1;
  for (struct addrinfo *a = found; a && to < 0; a = a->ai_next) {
    if (only_from_here && !is_loopback(a->ai_addr))
      die("--tracker: clients of a tracker elsewhere cannot reach this server, which listens on a"
          " loopback address:",
          "give --bind 0.0.0.0 and --secret FILE, reach the tracker through a tunnel (ssh -R), or"
          " --announce the end of one");
    to = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (to < 0) continue;
    setsockopt(to, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(to, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(to, a->ai_addr, a->ai_addrlen)) {
      close(to);
      to = -1;
    }
  }
  freeaddrinfo(found);
  int32_t magic = 0, on = 1;
  if (to < 0) return -1;
  setsockopt(to, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt(to, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (put_int(to, TRACKER_MAGIC) && get(to, &magic, 4) && magic == TRACKER_MAGIC) return to;
  close(to);
  return -1;
}

/* Sends JSON, reads the answer; 0 if the tracker is gone or says no. */
static int ask(char *message, char *answer, int32_t size) {
  int32_t length = (int32_t)strlen(message);
  if (!put_int(fd, length) || !put(fd, message, (size_t)length)) return 0;
  if (!get(fd, &length, 4) || length < 0 || length >= size) return 0;
  answer[length] = 0;
  return get(fd, answer, (size_t)length);
}

/* The address in JSON: null is the one that the tracker sees. */
static void address(char *host, size_t size) {
  if (announce) snprintf(host, size, "\"%s\"", announce);
  else snprintf(host, size, "null");
}

static int offer(int port) {
  char message[768], answer[64], host[160];
  uint64_t random = 0;
  if (getrandom(&random, sizeof random, 0) != sizeof random) return 0;
  snprintf(match, sizeof match, "%s:0.%016llx", key, (unsigned long long)random);
  address(host, sizeof host);
  snprintf(message, sizeof message, "[%d, \"%s\", [%d, \"%s\"], %s]", TRACKER_PUT, key, port,
           match, host);
  unmatched = 0;
  return ask(message, answer, sizeof answer) && !strcmp(answer, "0");
}

static int introduce(int port) {
  char message[512], answer[64], host[160];
  address(host, sizeof host);
  snprintf(message, sizeof message, "[%d, {\"key\": \"server:%s\", \"addr\": [%s, %d]}]",
           TRACKER_UPDATE_INFO, key, host, port);
  return ask(message, answer, sizeof answer) && !strcmp(answer, "0");
}

/* Whether the offer still stands. A tracker may give it to a client that never comes: then anew. */
static int ping(int port) {
  char question[16], pending[1 << 16];
  snprintf(question, sizeof question, "[%d]", TRACKER_PENDING);
  if (!ask(question, pending, sizeof pending)) return 0;
  unmatched = strstr(pending, match) ? 0 : unmatched + 1;
  return unmatched <= UNMATCHED_PINGS || offer(port);
}

long tracker_step(int port, int is_free) {
  if (!tracker || (fd >= 0 && !is_free)) return LONG_MAX;
  if (now_ms() < next) return next;
  int fine = fd >= 0 || ((fd = connect_tracker()) >= 0 && introduce(port));
  if (fine && is_free) fine = *match ? ping(port) : offer(port);
  if (!fine) {
    tracker_close();
    tracker_taken();
  }
  next = now_ms() + 1000L * (fine ? PING_SECONDS : RETRY_SECONDS);
  return next;
}

const char *tracker_match(void) { return match; }

void tracker_taken(void) {
  *match = 0;
  next = 0;
}

void tracker_close(void) {
  if (fd >= 0) close(fd);
  fd = -1;
}
