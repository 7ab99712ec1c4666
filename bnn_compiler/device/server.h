/* The small RPC server: server.c waits for clients, session.c speaks with one. */
#ifndef BNN_SERVER_H
#define BNN_SERVER_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

enum { MOST_ARGUMENTS = 16 };

/* The command that goes before every program (--run-with), and its number of words. */
extern char *prefix[MOST_ARGUMENTS + 1];
extern int prefix_count;
/* The signal that ends the server, or 0. */
extern volatile sig_atomic_t stopping;

/* All of ``size`` bytes; 0 if the connection ends before. */
int get(int fd, void *at, size_t size);
int put(int fd, const void *at, size_t size);
int put_int(int fd, int32_t value);

/* Answer one client, in the folder this process is in, until it leaves. */
void session(int fd);

#endif
