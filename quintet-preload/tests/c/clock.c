/* Built as a library, this shifts and stops the clocks of a program. Built as a program, it waits
   with timeouts. */
#ifdef CLOCKS
#define _GNU_SOURCE
#include <sys/time.h>
#include <time.h>

/* The real-time clock goes back an hour at each call, and the other clocks stand still. */
static time_t seconds = 2000000000;

int clock_gettime(clockid_t clock, struct timespec *now) {
    now->tv_sec = clock == CLOCK_REALTIME ? (seconds -= 3600) : 1;
    now->tv_nsec = 0;
    return 0;
}

time_t time(time_t *to) {
    seconds -= 3600;
    if (to) *to = seconds;
    return seconds;
}
#else
#include "check.h"

static double real_time(void) {
    struct timespec now;
    OK(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now));
    return now.tv_sec + now.tv_nsec * 1e-9;
}

int main(void) {
    int set = new_set(0), queue = OK(msgget(IPC_PRIVATE, 0600));
    struct sembuf takes = {0, -1, 0};
    struct timespec soon = {0, 30000000}, late = {3600, 0};
    for (int i = 0; i < 5; i++) {
        double begin = real_time();
        EQ(semtimedop(set, &takes, 1, &soon), -1);
        EQ(errno, EAGAIN);
        /* Not earlier. */
        EQ(real_time() - begin >= 0.03, 1);
    }
    int child = OK(fork());
    if (child == 0) _exit(semtimedop(set, &takes, 1, &late) == 0 ? 0 : errno);
    until_it_waits_for(set, 1);
    EQ(op_of(set, 1, SEM_UNDO), 0);
    EQ(end_of(child), 0);
    struct message message = {1, "x"};
    child = OK(fork());
    if (child == 0) _exit(msgrcv(queue, &message, 1, 0, 0) == 1 ? 0 : errno);
    until_it_waits(child, child);
    OK(msgsnd(queue, &message, 1, 0));
    EQ(end_of(child), 0);
    OK(semctl(set, 0, IPC_RMID));
    OK(msgctl(queue, IPC_RMID, NULL));
    return 0;
}
#endif
