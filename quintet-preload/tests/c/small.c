/* The first call of each kind, which initializes the library, in a thread with a small stack.
   (Optimized code needs only the smallest stack; as the tests are built, frames are twice as
   large.) */
#include "check.h"
#include <limits.h>
#include <pthread.h>

static void *sets(void *none) {
    int id = OK(semget(IPC_PRIVATE, 2, 0600));
    struct sembuf up = {.sem_op = 1, .sem_flg = SEM_UNDO}, both[2] = {{.sem_op = -1}, {.sem_num = 1, .sem_op = 1}};
    OK(semop(id, &up, 1));
    OK(semop(id, both, 2));
    EQ(OK(semctl(id, 1, GETVAL)), 1);
    OK(semctl(id, 0, IPC_RMID));
    return none;
}

static void *segments(void *none) {
    int id = OK(shmget(0x51a7, 5000, IPC_CREAT | IPC_EXCL | 0600));
    char *at = shmat(id, NULL, 0);
    at[4999] = 'x';
    OK(shmdt(at));
    struct shmid_ds ds;
    OK(shmctl(id, IPC_STAT, &ds));
    EQ(ds.shm_segsz, 5000);
    OK(shmctl(id, IPC_RMID, NULL));
    return none;
}

static void *queues(void *none) {
    int id = OK(msgget(IPC_PRIVATE, 0600));
    struct {
        long type;
        char text[200];
    } message = {.type = 3};
    OK(msgsnd(id, &message, sizeof message.text, 0));
    EQ(OK(msgrcv(id, &message, sizeof message.text, 0, 0)), (int)sizeof message.text);
    OK(msgctl(id, IPC_RMID, NULL));
    return none;
}

int main(void) {
    void *(*each[])(void *) = {sets, segments, queues};
    for (int which = 0; which < 3; which++) {
        int child = OK(fork());
        if (child == 0) {
            pthread_attr_t small;
            pthread_t thread;
            EQ(pthread_attr_init(&small), 0);
            EQ(pthread_attr_setstacksize(&small, 2 * PTHREAD_STACK_MIN), 0);
            EQ(pthread_create(&thread, &small, each[which], NULL), 0);
            EQ(pthread_join(thread, NULL), 0);
            _exit(0);
        }
        EQ(end_of(child), 0);
    }
    return 0;
}
