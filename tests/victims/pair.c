/* Each line on stdin makes one child that crashes by SIGSEGV in the same directory: with a core_pattern of `core`, two crashes on one path. */
#include "victim.h"
#include <sys/wait.h>

int main(void) {
    say("ready tid=%ld", own_tid());
    while (next_line()) {
        pid_t child = fork();
        if (child < 0)
            fail("fork");
        if (child == 0)
            *(volatile int *)8 = 42;
        int status;
        if (waitpid(child, &status, 0) != child)
            fail("waitpid");
        say("reaped pid=%d signal=%d core=%d", (int)child, WIFSIGNALED(status) ? WTERMSIG(status) : 0, WIFSIGNALED(status) && WCOREDUMP(status) ? 1 : 0);
    }
    return 0;
}
