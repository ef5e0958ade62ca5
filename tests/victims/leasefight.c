/* leasefight PATH PAUSE_US: opens PATH for writing again and again until stdin ends, and says how long each open blocked. Whoever holds a read lease on the file
 * while this runs gets it broken, and is seen here as a blocked open. */
#include "victim.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <time.h>

static long long microseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static int stdin_ended(void) {
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    char byte;
    return poll(&in, 1, 0) == 1 && read(STDIN_FILENO, &byte, 1) <= 0;
}

int main(int count, char **arguments) {
    if (count != 3) {
        fputs("usage: leasefight PATH PAUSE_US\n", stderr);
        return 2;
    }
    useconds_t between = (useconds_t)strtoul(arguments[2], NULL, 10);
    long long opens = 0, missing = 0, blocked = 0, longest = 0;
    say("ready");
    while (!stdin_ended()) {
        long long begun = microseconds();
        int file = open(arguments[1], O_WRONLY);
        int error = errno;
        long long took = microseconds() - begun;
        if (file >= 0) {
            opens++;
            close(file);
        } else if (error == ENOENT) {
            missing++; /* claimed, or not written yet */
        } else {
            errno = error;
            fail(arguments[1]);
        }
        if (took > longest)
            longest = took;
        /* A millisecond is far above any open of a file without a lease, so each line is a wait for somebody. */
        if (took >= 1000) {
            blocked++;
            say("blocked us=%lld", took);
        }
        usleep(between);
    }
    say("done opens=%lld missing=%lld blocked=%lld longest_us=%lld", opens, missing, blocked, longest);
    return 0;
}
