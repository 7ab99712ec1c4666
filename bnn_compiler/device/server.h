/* The small RPC server: server.c reads options and waits, greet.c says who gets in, work.c gives a
 * session its process, session.c speaks in it, tracker.c offers the board to a tracker.
 */
#ifndef BNN_SERVER_H
#define BNN_SERVER_H

#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>

/* As in tvm/rpc/base.py. */
enum { RPC_MAGIC = 0xff271, RPC_MISMATCH = RPC_MAGIC + 2 };
enum { MOST_ARGUMENTS = 16, MOST_KEY = 128, MOST_MATCH = 256 };

/* What the board is called. */
extern const char *key;
/* The command that goes before every program (--run-with), and its number of words. */
extern char *prefix[MOST_ARGUMENTS + 1];
extern int prefix_count;
/* The signal that ends the server, or 0. */
extern volatile sig_atomic_t stopping;

void die(const char *what, const char *why);
long now_ms(void);

/* session.c: all of ``size`` bytes; 0 if the connection ends before, or its time. */
int get(int fd, void *at, size_t size);
int put(int fd, const void *at, size_t size);
int put_int(int fd, int32_t value);
int put_error(int fd, const char *what);

/* Answer one client, in the folder this process is in, until it leaves. */
void session(int fd);

/* greet.c: clients before their session. */
enum { MOST_GUESTS = 48 };
void guests_accept(int listener);
/* Fills in what to wait for; the number. */
int guests_watch(struct pollfd *waits);
/* After the wait: goes on with each. ``match`` is what a client has to know now; "" is nothing. */
void guests_advance(const struct pollfd *waits, const char *match);
/* The time at which one of them has to be gone, or LONG_MAX. */
long guests_end(void);
/* The client whose turn it is, or -1. */
int guests_next(void);
/* In a process that must not hold their connections. */
void guests_close(void);

/* work.c: the one session. ``close_others`` closes what its process must not hold. */
void work_start(int fd, void (*close_others)(void));
/* What becomes readable when the session ends, or -1 without one. */
int work_ended(void);
long work_end_time(void);
/* Ends the session and all it started, and removes its files. */
void work_stop(void);

/* tracker.c: offers the board at ``port`` while it is ``free``; when to be called again. */
extern const char *tracker, *announce;
long tracker_step(int port, int is_free);
/* What a client has to know that the tracker sent, "" for none. */
const char *tracker_match(void);
/* The board is taken. */
void tracker_taken(void);
void tracker_close(void);
/* Whether the address that clients are told leads each of them to itself. */
extern int only_from_here;

#endif
