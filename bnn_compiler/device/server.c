/* bnn-server: serves a board to TVM's RPC clients without TVM or Python.
 *
 *   bnn-server --key KEY [--bind ADDRESS] [--port PORT] [--secret FILE]
 *              [--tracker HOST:PORT] [--announce ADDRESS] [--run-with "COMMAND ..."]
 *
 * It registers with TVM's tracker as TVM's own server does, and speaks as much of the session
 * protocol as it takes to upload a file and run it. Each session has a process and an empty folder;
 * both are gone when it ends. --run-with goes before every program (nice, an emulator).
 *
 * Whoever gets a session can run programs here. It listens on this machine only, for the end of a
 * tunnel; with --bind, ask for a --secret.
 */
#define _GNU_SOURCE
#include "server.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "secret.h"

enum { BACKLOG = 256 };

static const char *bind_to = "127.0.0.1", *port = "9090", *secret_file;
static int listener;
const char *key;
char *prefix[MOST_ARGUMENTS + 1];
int prefix_count;
volatile sig_atomic_t stopping;

static void stop(int number) { stopping = number; }

void die(const char *what, const char *why) {
  fprintf(stderr, "bnn-server: %s %s\n", what, why);
  exit(2);
}

long now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Clients of a tracker are told the address that is listened on, unless it stands for all: then the
 * one that the tracker sees.
 */
static void look_at_address(const struct addrinfo *found) {
  static char numeric[64];
  const void *address = found->ai_family == AF_INET
                            ? (void *)&((struct sockaddr_in *)found->ai_addr)->sin_addr
                            : (void *)&((struct sockaddr_in6 *)found->ai_addr)->sin6_addr;
  inet_ntop(found->ai_family, address, numeric, sizeof numeric);
  const int any = !strcmp(numeric, "0.0.0.0") || !strcmp(numeric, "::");
  const int loopback = !strncmp(numeric, "127.", 4) || !strcmp(numeric, "::1");
  only_from_here = loopback && !announce;
  if (!announce && !any) announce = numeric;
  if (!loopback && !secret_wanted)
    fprintf(stderr, "bnn-server: whoever reaches %s can run programs here: --secret FILE\n", bind_to);
}

static int listen_on(int *number) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found;
  struct sockaddr_storage name = {0};
  socklen_t size = sizeof name;
  char told[256];
  int on = 1, wrong = getaddrinfo(bind_to, port, &hints, &found);
  snprintf(told, sizeof told, "--bind %.100s:", bind_to);
  if (wrong) die(told, gai_strerror(wrong));
  look_at_address(found);
  int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  snprintf(told, sizeof told, "cannot listen on %.100s, port %.20s:", bind_to, port);
  if (fd < 0) die(told, strerror(errno));
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, found->ai_addr, found->ai_addrlen) || listen(fd, BACKLOG)) die(told, strerror(errno));
  freeaddrinfo(found);
  getsockname(fd, (struct sockaddr *)&name, &size);
  *number = ntohs(((struct sockaddr_in *)&name)->sin_port); /* at the same place in IPv6 */
  return fd;
}

static int plain(const char *words, const char *others) {
  for (; *words; ++words)
    if (!isalnum((unsigned char)*words) && !strchr(others, *words)) return 0;
  return 1;
}

static void options(int argc, char **argv) {
  const struct {
    const char *name, **to;
  } known[] = {{"--key", &key},         {"--tracker", &tracker},   {"--port", &port},
               {"--bind", &bind_to},    {"--announce", &announce}, {"--secret", &secret_file}};
  for (int i = 1; i < argc; i += 2) {
    int found = 0;
    if (i + 1 == argc) die(argv[i], "needs a value");
    for (size_t k = 0; k < sizeof known / sizeof *known; ++k)
      if (!strcmp(argv[i], known[k].name)) *known[k].to = argv[i + 1], found = 1;
    if (!strcmp(argv[i], "--run-with")) {
      found = 1;
      for (char *word = strtok(argv[i + 1], " "); word; word = strtok(NULL, " ")) {
        if (prefix_count == MOST_ARGUMENTS) die("--run-with", "takes at most 16 words");
        prefix[prefix_count++] = word;
      }
    }
    if (!found) die(argv[i], "is not an option");
  }
  char *behind;
  long number = strtol(port, &behind, 10);
  if (!key || !*key || strlen(key) > MOST_KEY) die("--key", "is needed, of at most 128 letters");
  if (!plain(key, "._-")) die("--key:", "letters, digits, . _ - only");
  if (!isdigit((unsigned char)*port) || *behind || number > 65535) die("--port", "is 0 to 65535");
  if (tracker && (!strrchr(tracker, ':') || strlen(tracker) > 120)) die("--tracker", "takes HOST:PORT");
  if (announce && (!*announce || strlen(announce) > 120 || !plain(announce, ".:-_")))
    die("--announce", "takes an address or a name");
  const char *wrong = secret_file ? secret_read(secret_file) : NULL;
  if (wrong) {
    char what[256];
    snprintf(what, sizeof what, "--secret %.200s:", secret_file);
    die(what, wrong);
  }
}

static void close_others(void) {
  close(listener);
  tracker_close();
  guests_close();
}

/* Waits for whatever comes next, until ``end`` at most. */
static void wait_for(long end) {
  struct pollfd waits[2 + MOST_GUESTS] = {{listener, POLLIN, 0}, {work_ended(), POLLIN, 0}};
  int guests = guests_watch(waits + 2);
  if (guests_end() < end) end = guests_end();
  if (work_end_time() < end) end = work_end_time();
  long left = end - now_ms();
  left = end == LONG_MAX ? -1 : left < 0 ? 0 : left > 60000 ? 60000 : left;
  /* Without room the listener waits, too: guests_accept makes some. */
  if (poll(waits, (nfds_t)(2 + guests), (int)left) < 0) return;
  if (waits[1].revents || now_ms() >= work_end_time()) work_stop();
  guests_advance(waits + 2, tracker ? tracker_match() : key);
  if (waits[0].revents) guests_accept(listener);
}

int main(int argc, char **argv) {
  struct sigaction action = {.sa_handler = stop};
  int number = 0;
  options(argc, argv);
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);
  listener = listen_on(&number);
  printf("bnn-server: %s on port %d\n", key, number);
  fflush(stdout);
  while (!stopping) {
    int client = work_ended() < 0 ? guests_next() : -1;
    if (client >= 0) {
      work_start(client, close_others);
      close(client);
      tracker_taken();
    }
    wait_for(tracker_step(number, work_ended() < 0));
  }
  work_stop();
  return 0;
}
