/* 16 threads (the first one and 15 workers); the 7th worker calls abort(), the others wait. `ready` names its thread id and thread name. */
#include "victim.h"
#include <pthread.h>

enum { WORKERS = 15, CULPRIT = 7 };

static pthread_barrier_t all_started;
static pthread_barrier_t go;
static long culprit_tid;

static void *work(void *argument) {
    long number = (long)argument;
    char name[16];
    snprintf(name, sizeof name, "worker-%ld", number);
    pthread_setname_np(pthread_self(), name);
    if (number == CULPRIT)
        culprit_tid = own_tid();
    pthread_barrier_wait(&all_started);
    if (number == CULPRIT) {
        pthread_barrier_wait(&go);
        abort();
    }
    pause();
    return NULL;
}

int main(void) {
    pthread_barrier_init(&all_started, NULL, WORKERS + 1);
    pthread_barrier_init(&go, NULL, 2);
    for (long number = 1; number <= WORKERS; number++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, (void *)number) != 0)
            fail("pthread_create");
    }
    pthread_barrier_wait(&all_started);
    say("ready tid=%ld name=worker-%d", culprit_tid, CULPRIT);
    next_line();
    pthread_barrier_wait(&go);
    pause();
}
