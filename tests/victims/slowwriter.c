/* slowwriter SOURCE TARGET PIECES PAUSE: writes a finished dump to TARGET as createdump does (one open with O_TRUNC, from front to end, no rename, no fsync), in
 * PIECES pieces, and says so after each. PAUSE is milliseconds, or `line` to wait for a line on stdin; it also comes between the last piece and the close, when
 * the file is complete but still open. If stdin ends while waiting for a line, the file stays as it is and the writer leaves with 3. */
#include "victim.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static void pause_for(const char *how) {
    if (strcmp(how, "line") == 0) {
        if (!next_line())
            exit(3);
        return;
    }
    long milliseconds = strtol(how, NULL, 10);
    struct timespec left = {milliseconds / 1000, (milliseconds % 1000) * 1000000};
    while (nanosleep(&left, &left) == -1 && errno == EINTR)
        ;
}

/* A full disk leaves the half that fitted, as a kernel core would. */
static void write_whole(int target, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t written = write(target, bytes, length);
        if (written < 0)
            fail("write");
        bytes += written;
        length -= (size_t)written;
    }
}

int main(int count, char **arguments) {
    if (count != 5 || strtol(arguments[3], NULL, 10) < 1) {
        fputs("usage: slowwriter SOURCE TARGET PIECES MILLISECONDS|line\n", stderr);
        return 2;
    }
    int source = open(arguments[1], O_RDONLY);
    if (source < 0)
        fail(arguments[1]);
    struct stat facts;
    if (fstat(source, &facts) < 0)
        fail("fstat");
    long pieces = strtol(arguments[3], NULL, 10);
    off_t piece = (facts.st_size + pieces - 1) / pieces;
    int target = open(arguments[2], O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (target < 0)
        fail(arguments[2]);
    say("ready bytes=%lld", (long long)facts.st_size);

    static char buffer[64 * 1024];
    off_t done = 0;
    while (done < facts.st_size) {
        off_t stop = done + piece < facts.st_size ? done + piece : facts.st_size;
        while (done < stop) {
            size_t want = stop - done < (off_t)sizeof buffer ? (size_t)(stop - done) : sizeof buffer;
            ssize_t got = pread(source, buffer, want, done);
            if (got <= 0)
                fail("read");
            write_whole(target, buffer, (size_t)got);
            done += got;
        }
        say("wrote bytes=%lld of=%lld", (long long)done, (long long)facts.st_size);
        pause_for(arguments[4]);
    }
    if (close(target) < 0)
        fail("close");
    say("closed");
    return 0;
}
