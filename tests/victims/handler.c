/* Crashes as argv[1] says (segv, abort, bus, worker), into a handler as crash reporters have one: it says what the signal brought and waits, so that a minidump is
   written from outside while everything still stands as it was. `context` is the kernel's ucontext in hex. */
#include "victim.h"
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

/* printf in a handler is allowed only because this program crashes at places it knows, never within printf. */
static void handle(int number, siginfo_t *info, void *context) {
    const unsigned char *bytes = context;
    static char hex[2 * sizeof(ucontext_t) + 1];
    for (size_t at = 0; at < sizeof(ucontext_t); at++)
        sprintf(hex + 2 * at, "%02x", bytes[at]);
    say("crashed signo=%d code=%d addr=0x%lx tid=%ld context=%s", number, info->si_code, (unsigned long)info->si_addr, own_tid(), hex);
    next_line();
    _exit(3);
}

static void catch_signal(int number) {
    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    if (sigaction(number, &action, NULL) != 0)
        fail("sigaction");
}

static void *work(void *unused) {
    pthread_setname_np(pthread_self(), "order-worker");
    abort();
    return unused;
}

int main(int count, char **arguments) {
    const char *mode = count > 1 ? arguments[1] : "segv";
    catch_signal(SIGSEGV);
    catch_signal(SIGABRT);
    catch_signal(SIGBUS);
    say("ready tid=%ld", own_tid());
    next_line();
    if (strcmp(mode, "abort") == 0)
        abort();
    if (strcmp(mode, "bus") == 0) {
        /* A mapped page behind the end of its file. */
        char *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, memfd_create("empty", 0), 0);
        if (page == MAP_FAILED)
            fail("mmap");
        say("unreachable %d", *(volatile char *)page);
    }
    if (strcmp(mode, "worker") == 0) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, NULL) != 0)
            fail("pthread_create");
        pthread_join(thread, NULL);
    }
    *(volatile int *)8 = 42;
}
