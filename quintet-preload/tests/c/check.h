/* Shared by the programs here. Each prints a difference from the expected behaviour on standard
   error, and exits with 1. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

union semun {
    int val;
    struct semid_ds *buf;
    unsigned short *array;
};

struct message {
    long type;
    char text[64];
};

__attribute__((unused)) static void fail(const char *what, int line, long got, long expected) {
    int error = errno;
    char text[512];
    int len = snprintf(text, sizeof text, "line %d: %s is %ld, not %ld (errno %d, %s)\n", line, what, got, expected, error, strerror(error));
    /* Standard error may be closed. */
    if (write(2, text, len) != len) _exit(2);
    _exit(1);
}

/* An upper bound against hanging. */
__attribute__((constructor)) static void bound(void) { alarm(120); }

#define EQ(got, expected) \
    do { \
        long got_ = (long)(got), expected_ = (long)(expected); \
        if (got_ != expected_) fail(#got, __LINE__, got_, expected_); \
    } while (0)
#define OK(call) \
    ({ \
        __auto_type ret_ = (call); \
        if ((long)ret_ == -1) fail(#call, __LINE__, -1, 0); \
        ret_; \
    })

__attribute__((unused)) static int op_of(int set, int op, int flags) {
    struct sembuf operation = {0, op, flags};
    return semop(set, &operation, 1);
}

__attribute__((unused)) static int new_set(int value) {
    int set = OK(semget(IPC_PRIVATE, 1, 0600));
    OK(semctl(set, 0, SETVAL, (union semun){.val = value}));
    return set;
}

__attribute__((unused)) static int value_of(int set) { return semctl(set, 0, GETVAL); }

__attribute__((unused)) static long attached(int segment) {
    struct shmid_ds ds;
    OK(shmctl(segment, IPC_STAT, &ds));
    return ds.shm_nattch;
}

__attribute__((unused)) static long messages(int queue) {
    struct msqid_ds ds;
    OK(msgctl(queue, IPC_STAT, &ds));
    return ds.msg_qnum;
}

/* Waits until a thread sleeps in one of the calls, or in the futex that implements it. */
__attribute__((unused)) static void until_it_waits(int pid, int tid) {
    char name[64], text[64];
    snprintf(name, sizeof name, "/proc/%d/task/%d/syscall", pid, tid);
    for (;;) {
        int fd = open(name, O_RDONLY);
        if (fd >= 0) {
            ssize_t len = read(fd, text, sizeof text - 1);
            close(fd);
            if (len > 0) {
                text[len] = 0;
                long call = strtol(text, NULL, 10);
                int asleep = call == SYS_futex || call == SYS_msgrcv || call == SYS_msgsnd || call == SYS_semop || call == SYS_semtimedop;
                if (text[0] >= '0' && text[0] <= '9' && asleep) return;
            }
        }
        sched_yield();
    }
}

/* Waits until this many processes wait for the first semaphore to grow. */
__attribute__((unused)) static void until_it_waits_for(int set, int count) {
    while (semctl(set, 0, GETNCNT) != count) sched_yield();
}

/* Waits for a child. Returns its status, or 1000 plus its signal. */
__attribute__((unused)) static int end_of(int pid) {
    int status;
    OK(waitpid(pid, &status, __WALL));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}
