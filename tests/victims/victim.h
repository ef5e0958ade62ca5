/* What every victim does first: say `ready` with its own facts, then wait for a line (or the end) on stdin, so that a test can read /proc before the crash. */
#ifndef VICTIM_H
#define VICTIM_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A line of `word key=value key=value`, at once: a test waits for it. */
__attribute__((format(printf, 1, 2))) static inline void say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
}

/* The next line is there (1) or stdin has ended (0). Byte by byte: a forked child must not inherit a buffer. */
static inline int next_line(void) {
    char byte;
    while (read(STDIN_FILENO, &byte, 1) == 1)
        if (byte == '\n')
            return 1;
    return 0;
}

static inline long own_tid(void) { return syscall(SYS_gettid); }

_Noreturn static inline void fail(const char *what) {
    perror(what);
    exit(2);
}

#endif
