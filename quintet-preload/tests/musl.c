/* The musl side of musl.rs: makes its calls, prints the result of each, and waits to be killed. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <unistd.h>

#define KEY 0x6d75

static void say(const char *what, long value)
{
    printf("%s %ld\n", what, value < 0 ? -(long)errno : value);
    fflush(stdout);
}

int main(void)
{
    struct { long type; char text[32]; } message = { 2, "from musl" };
    struct sembuf take = { 0, -1, SEM_UNDO }, give = { 1, 1, 0 };
    struct shmid_ds segment;
    struct semid_ds set;
    struct msqid_ds queue;
    unsigned short values[2] = { 0, 0 };
    int shm = shmget(KEY, 4096, 0), sem = semget(KEY, 2, 0), msg = msgget(KEY, 0);
    char *memory = shmat(shm, 0, 0);

    say("found", shm | sem | msg);
    strcpy(memory + 100, memory);
    say("waited", semop(sem, &take, 1));
    say("received", msgrcv(msg, &message, sizeof message.text, 1, 0));
    message.type = 2;
    say("sent", msgsnd(msg, &message, sizeof message.text, 0));
    say("attached", shmctl(shm, IPC_STAT, &segment) ? -1 : (long)segment.shm_nattch);
    say("semaphores", semctl(sem, 0, IPC_STAT, &set) ? -1 : (long)set.sem_nsems);
    say("bytes", msgctl(msg, IPC_STAT, &queue) ? -1 : (long)queue.msg_qbytes);
    say("values", semctl(sem, 0, GETALL, values) ? -1 : values[0] * 10 + values[1]);
    say("bad pointer", semop(sem, (void *)8, 1));
    say("bad buffer", shmctl(shm, IPC_STAT, (void *)8));
    say("given", semop(sem, &give, 1));
    for (;;)
        pause();
}
