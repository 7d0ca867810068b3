/* A program that changes its root directory after it has used, or only found, the objects. Only for
   the superuser. */
#include "check.h"

static int segment, set, queue;

static void change_root(int by_number) {
    char name[] = "/tmp/quintet-XXXXXX";
    OK(mkdtemp(name));
    OK(chdir(name));
    OK(rmdir(name));
    OK(by_number ? syscall(SYS_chroot, ".") : chroot("."));
    EQ(access("/tmp", F_OK), -1);
}

static void use_all(int children) {
    char *at = OK(shmat(segment, NULL, 0));
    EQ(attached(segment), 1);
    int other = OK(shmget(0x51c1, 300000, IPC_CREAT | 0600));
    char *new = OK(shmat(other, NULL, 0));
    new[299999] = at[0] = 1;
    OK(shmctl(other, IPC_RMID, NULL));
    OK(shmdt(new));
    EQ(op_of(set, 1, SEM_UNDO), 0);
    EQ(op_of(set, -1, SEM_UNDO), 0);
    other = OK(semget(0x51c2, 5, IPC_CREAT | 0600));
    EQ(op_of(other, 3, 0), 0);
    OK(semctl(other, 0, IPC_RMID));
    struct message message = {3, "in the queue"};
    OK(msgsnd(queue, &message, 13, 0));
    EQ(msgrcv(queue, &message, sizeof message.text, 3, 0), 13);
    other = OK(msgget(0x51c3, IPC_CREAT | 0600));
    OK(msgsnd(other, &message, 13, 0));
    OK(msgctl(other, IPC_RMID, NULL));
    for (int i = 0; i < children; i++) {
        int child = OK(fork());
        if (child == 0) {
            EQ(attached(segment), 2);
            EQ(op_of(set, 1, SEM_UNDO), 0);
            if (i % 2) raise(SIGKILL);
            exit(0);
        }
        EQ(end_of(child), i % 2 ? 1000 + SIGKILL : 0);
        EQ(attached(segment), 1);
    }
    OK(shmdt(at));
    /* The adjustments of ended children are undone when another process next looks at the set. */
    while (value_of(set) != 0) op_of(set, 0, IPC_NOWAIT);
}

int main(void) {
    segment = OK(shmget(IPC_PRIVATE, 4096, 0600));
    set = new_set(0);
    queue = OK(msgget(IPC_PRIVATE, 0600));
    for (int way = 0; way < 4; way++) {
        int used = way & 1;
        int child = OK(fork());
        if (child == 0) {
            if (used) use_all(2);
            change_root(way & 2);
            for (int i = 0; i < 3; i++) use_all(4);
            /* Also after all descriptors have been closed. */
            OK(syscall(SYS_close_range, 3, ~0U, 0));
            char *at = OK(shmat(segment, NULL, 0));
            EQ(op_of(set, 1, 0), 0);
            EQ(op_of(set, -1, 0), 0);
            OK(shmdt(at));
            exit(0);
        }
        EQ(end_of(child), 0);
    }
    return 0;
}
