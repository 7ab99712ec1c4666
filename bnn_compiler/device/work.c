/* The session's process and folder, and the end of both. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "secret.h"
#include "server.h"

/* Of a session: in all, and without a word from the client. */
enum { SESSION_SECONDS = 600, IDLE_SECONDS = 60, REFUSE_SECONDS = 5 };
/* What a program may write into one file. */
enum { MOST_FILE = 1 << 28 };
/* Those that cannot be killed at once (in a driver) may not hold the board for ever. */
enum { KILL_SECONDS = 10 };

static pid_t child;
static unsigned long long since; /* of the child, in ticks */
static int ended = -1;
static long end;
static char path[256];

static int open_up(const char *name, const struct stat *about, int kind, struct FTW *at) {
  (void)about, (void)at;
  if (kind == FTW_D || kind == FTW_DNR) chmod(name, 0700);
  return 0;
}

static int remove_one(const char *name, const struct stat *about, int kind, struct FTW *at) {
  (void)about, (void)kind, (void)at;
  remove(name);
  return 0;
}

/* What programs made there goes too; a folder they closed is opened first. */
static void remove_folder(void) {
  for (int i = 0; *path && i < 32 && nftw(path, open_up, 16, FTW_PHYS) == 0; ++i) {
    nftw(path, remove_one, 16, FTW_PHYS | FTW_DEPTH);
    if (access(path, F_OK)) return;
  }
}

/* When a child of this process was started, in ticks; 0 for what is none. */
static unsigned long long child_since(long pid) {
  enum { PARENT = 4, START = 22 }; /* of the fields in /proc/PID/stat: proc(5) */
  char name[64], line[1024];
  snprintf(name, sizeof name, "/proc/%ld/stat", pid);
  int file = open(name, O_RDONLY | O_CLOEXEC);
  ssize_t n = file < 0 ? -1 : read(file, line, sizeof line - 1);
  if (file >= 0) close(file);
  line[n < 0 ? 0 : n] = 0;
  /* The second is a name in parentheses, which may hold anything. */
  const char *at = strrchr(line, ')');
  for (int field = 2; at && field < START; ++field) {
    at = strchr(at + 1, ' ');
    if (at && field + 1 == PARENT && strtol(at, NULL, 10) != getpid()) return 0;
  }
  return at ? strtoull(at, NULL, 10) : 0;
}

/* Kills the session's process and all it started: as their parents die, they become ours. Children
 * that were ours before (of a shell that became this program) are none of it.
 */
static void kill_all(void) {
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
  int left = 1;
  for (long limit = now_ms() + 1000L * KILL_SECONDS; left && now_ms() < limit;) {
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
    left = 0;
    DIR *all = opendir("/proc");
    for (struct dirent *entry; all && (entry = readdir(all));) {
      long pid = atol(entry->d_name);
      unsigned long long start = pid > 0 ? child_since(pid) : 0;
      if (start > since || (start == since && pid > child))
        left = 1, kill((pid_t)pid, SIGKILL);
    }
    if (all) closedir(all);
    if (left) poll(NULL, 0, 1);
  }
}

static void limit(int what, rlim_t most) {
  struct rlimit now;
  if (getrlimit(what, &now)) return;
  if (now.rlim_max > most) now.rlim_max = most;
  if (now.rlim_cur > now.rlim_max) now.rlim_cur = now.rlim_max;
  setrlimit(what, &now);
}

/* Says why there is no session, and waits a moment for the client to read it. */
static void refuse(int fd, const char *why) {
  char rest[4096];
  alarm(REFUSE_SECONDS);
  put_error(fd, why);
  shutdown(fd, SHUT_WR);
  while (read(fd, rest, sizeof rest) > 0) {
  }
  _exit(1);
}

static void run_session(int fd, void (*close_others)(void), pid_t server, const char *problem) {
  struct timeval patience = {IDLE_SECONDS, 0};
  struct sigaction ignore = {.sa_handler = SIG_IGN};
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != server) _exit(1);
  close_others();
  secret_forget();
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (problem) refuse(fd, problem);
  if (chdir(path)) refuse(fd, strerror(errno));
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_FSIZE, MOST_FILE);
  sigaction(SIGXFSZ, &ignore, NULL); /* an error of write, as a full disk is */
  session(fd);
  _exit(0);
}

void work_start(int fd, void (*close_others)(void)) {
  const char *base = getenv("TMPDIR");
  int ends[2] = {-1, -1};
  pid_t server = getpid();
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  snprintf(path, sizeof path, "%s/bnn-server-XXXXXX", base && *base ? base : "/tmp");
  const char *problem = NULL;
  if (!mkdtemp(path)) { /* a full disk may have room again */
    fprintf(stderr, "bnn-server: %s: %s\n", path, strerror(errno));
    problem = strerror(errno);
    *path = 0;
  }
  child = pipe2(ends, O_CLOEXEC) ? -1 : fork();
  if (child == 0) run_session(fd, close_others, server, problem);
  if (ends[1] >= 0) close(ends[1]); /* the other one closes with the child */
  if (child > 0) {
    ended = ends[0];
    end = now_ms() + 1000L * SESSION_SECONDS;
    since = child_since(child);
    return;
  }
  perror("bnn-server: no process for a session");
  if (ends[0] >= 0) close(ends[0]);
  remove_folder();
}

int work_ended(void) { return ended; }

long work_end_time(void) { return ended < 0 ? LONG_MAX : end; }

void work_stop(void) {
  if (ended < 0) return;
  kill_all();
  close(ended);
  ended = -1;
  remove_folder();
}
