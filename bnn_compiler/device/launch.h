/* Run a program with a time limit and collect what it prints. */
#ifndef BNN_LAUNCH_H
#define BNN_LAUNCH_H

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Exit codes as a shell gives them; 128 + n for signal n. */
enum { LAUNCH_TIMEOUT = 124, LAUNCH_CANNOT_RUN = 126 };
/* Bytes of a result. */
enum { LAUNCH_TEXT = 1 << 16 };

static long launch_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ``text``: the exit code, a newline, then what the program printed, cut to ``size`` bytes.
 *
 * The program is killed after ``seconds``, and as soon as the socket ``peer`` (-1: none) is closed
 * from the other side.
 */
static void launch(char *const *argv, int seconds, int peer, char *text, size_t size) {
  static char output[LAUNCH_TEXT - 16];
  size_t used = 0;
  int ends[2], status = 0, timeout = 0;
  pid_t child = pipe(ends) ? -1 : fork();
  if (child < 0) {
    snprintf(text, size, "%d\n%s", LAUNCH_CANNOT_RUN, strerror(errno));
    return;
  }
  if (child == 0) {
    /* Its own group, so that all it starts ends with it; gone when we are. */
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGXFSZ, SIG_DFL);
    dup2(ends[1], 1);
    dup2(ends[1], 2);
    close(ends[0]);
    close(ends[1]);
    /* execvp would hand a program of another machine to the shell. */
    if (strchr(argv[0], '/')) execv(argv[0], argv);
    else execvp(argv[0], argv);
    dprintf(1, "%s", strerror(errno));
    _exit(LAUNCH_CANNOT_RUN);
  }
  setpgid(child, child);
  close(ends[1]);
  const long end = launch_ms() + 1000L * seconds;
  for (;;) {
    struct pollfd waits[2] = {{ends[0], POLLIN, 0}, {peer, POLLRDHUP, 0}};
    long left = end - launch_ms();
    timeout = left <= 0;
    if (timeout || (poll(waits, 2, (int)left) < 0 && errno != EINTR) || waits[1].revents) {
      kill(-child, SIGKILL);
      break;
    }
    if (!waits[0].revents) continue;
    char rest[256];
    size_t room = sizeof output - 1 - used;
    ssize_t n = read(ends[0], room ? output + used : rest, room ? room : sizeof rest);
    if (n == 0 || (n < 0 && errno != EINTR)) break;
    if (n > 0 && room) used += (size_t)n;
  }
  output[used] = 0;
  /* The other side takes text. */
  for (char *c = output; *c; ++c)
    if (*c != '\n' && (*c < ' ' || *c > '~')) *c = '?';
  close(ends[0]);
  /* It may have closed its output and go on. */
  for (siginfo_t ended = {0}; ended.si_pid != child;) {
    if (waitid(P_PID, (id_t)child, &ended, WEXITED | WNOHANG | WNOWAIT) && errno != EINTR) break;
    if (ended.si_pid == child) break;
    if (launch_ms() >= end) {
      timeout = 1;
      kill(-child, SIGKILL);
    }
    poll(NULL, 0, 1);
  }
  /* What it started and left behind would disturb the next; its number is still taken. */
  kill(-child, SIGKILL);
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  int code = timeout               ? LAUNCH_TIMEOUT
             : WIFSIGNALED(status) ? 128 + WTERMSIG(status)
                                   : WEXITSTATUS(status);
  snprintf(text, size, "%d\n%s", code, output);
}

#endif
