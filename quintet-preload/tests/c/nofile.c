/* Every call, the first and later ones, without a free descriptor. The files and locks of the
   program stay as they are. */
#include "check.h"

static dev_t device;
static ino_t inode;
static int limit;

static void look_at_descriptors(void) {
    for (int fd = 3; fd < limit; fd++) {
        struct stat stat;
        OK(fstat(fd, &stat));
        EQ(stat.st_dev, device);
        EQ(stat.st_ino, inode);
    }
    EQ(open("/dev/null", O_RDONLY), -1);
    EQ(errno, EMFILE);
}

/* The record lock on the last descriptor is lost if this process closes any descriptor of that
   file. */
static void look_at_lock(void) {
    int child = OK(fork());
    if (child == 0) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
        OK(fcntl(limit - 1, F_GETLK, &lock));
        _exit(lock.l_type == F_WRLCK && lock.l_pid == getppid() ? 0 : 1);
    }
    EQ(end_of(child), 0);
}

static void segments(void) {
    key_t key = 0x51a1;
    int id = OK(shmget(key, 8192, IPC_CREAT | IPC_EXCL | 0600)), large = OK(shmget(IPC_PRIVATE, 1 << 20, 0600));
    EQ(shmget(key, 8192, IPC_CREAT | IPC_EXCL | 0600), -1);
    EQ(errno, EEXIST);
    EQ(shmget(key, 1, 0), id);
    EQ(attached(id), 0);
    char *at = OK(shmat(id, NULL, 0)), *again = OK(shmat(id, NULL, SHM_RDONLY)), *more = OK(shmat(large, NULL, 0));
    strcpy(at, "here");
    EQ(strcmp(again, "here"), 0);
    more[(1 << 20) - 1] = 1;
    EQ(attached(id), 2);
    int child = OK(fork());
    if (child == 0) {
        strcpy(at, "child");
        if (attached(id) != 4) _exit(1);
        /* No handler runs at this end. */
        raise(SIGKILL);
    }
    EQ(end_of(child), 1000 + SIGKILL);
    EQ(attached(id), 2);
    EQ(attached(large), 1);
    EQ(strcmp(again, "child"), 0);
    struct shmid_ds ds;
    OK(shmctl(id, IPC_STAT, &ds));
    ds.shm_perm.mode = 0640;
    OK(shmctl(id, IPC_SET, &ds));
    OK(shmdt(at));
    OK(shmdt(again));
    EQ(attached(id), 0);
    OK(shmctl(id, IPC_RMID, NULL));
    OK(shmctl(large, IPC_RMID, NULL));
    EQ(more[(1 << 20) - 1], 1);
    OK(shmdt(more));
    EQ(shmctl(large, IPC_STAT, &ds), -1);
    EQ(errno, EINVAL);
}

static void sets(void) {
    key_t key = 0x51a2;
    int id = OK(semget(key, 3, IPC_CREAT | IPC_EXCL | 0600));
    EQ(semget(key, 3, 0), id);
    OK(semctl(id, 0, SETVAL, (union semun){.val = 1}));
    EQ(op_of(id, -1, SEM_UNDO), 0);
    int child = OK(fork());
    if (child == 0) {
        /* Waits, and then exits with an undo record. */
        _exit(op_of(id, -1, SEM_UNDO) == 0 && value_of(id) == 0 ? 0 : 1);
    }
    until_it_waits_for(id, 1);
    EQ(op_of(id, 1, SEM_UNDO), 0);
    EQ(end_of(child), 0);
    EQ(value_of(id), 1);
    /* More undo records and more waiters than the file has room for at first. */
    enum { MANY = 40 };
    int children[MANY];
    for (int i = 0; i < MANY; i++) {
        children[i] = OK(fork());
        if (children[i] == 0) {
            struct sembuf ops[] = {{1, 30000 / MANY, SEM_UNDO}, {2, -1, SEM_UNDO}};
            _exit(semop(id, ops, 2) == 0 ? 0 : errno);
        }
    }
    while (semctl(id, 2, GETNCNT) != MANY) sched_yield();
    OK(semctl(id, 2, SETVAL, (union semun){.val = MANY}));
    for (int i = 0; i < MANY; i++) EQ(end_of(children[i]), 0);
    EQ(semctl(id, 1, GETVAL), 0);
    EQ(semctl(id, 2, GETVAL), MANY);
    OK(semctl(id, 0, IPC_RMID));
}

static void queues(void) {
    key_t key = 0x51a3;
    static struct { long type; char text[8192]; } long_one;
    int id = OK(msgget(key, IPC_CREAT | IPC_EXCL | 0600));
    EQ(msgget(key, 0), id);
    struct message message = {7, "text"};
    OK(msgsnd(id, &message, 5, 0));
    memset(&message, 0, sizeof message);
    EQ(msgrcv(id, &message, sizeof message.text, 7, 0), 5);
    EQ(strcmp(message.text, "text"), 0);
    /* Fills the queue: more than there is room for at first. */
    int count = 0;
    long_one.type = 1;
    for (message.type = 1; msgsnd(id, &message, 1, IPC_NOWAIT) == 0; count++) {}
    EQ(errno, EAGAIN);
    EQ(count, 16384);
    EQ(messages(id), count);
    int child = OK(fork());
    if (child == 0) _exit(msgsnd(id, &message, 1, 0) == 0 ? 0 : 1);
    for (int i = 0; i <= count; i++) EQ(msgrcv(id, &message, sizeof message.text, 0, 0), 1);
    EQ(end_of(child), 0);
    OK(msgsnd(id, &long_one, sizeof long_one.text, 0));
    EQ(msgrcv(id, &long_one, sizeof long_one.text, 0, 0), sizeof long_one.text);
    EQ(messages(id), 0);
    OK(msgctl(id, IPC_RMID, NULL));
}

int main(void) {
    struct rlimit many;
    struct stat stat;
    char name[] = "/tmp/quintet-XXXXXX";
    int fd = OK(mkstemp(name));
    OK(unlink(name));
    OK(fstat(fd, &stat));
    device = stat.st_dev, inode = stat.st_ino;
    OK(getrlimit(RLIMIT_NOFILE, &many));
    limit = 64;
    many.rlim_cur = limit;
    OK(setrlimit(RLIMIT_NOFILE, &many));
    for (int other = 3; other < limit; other++) OK(dup2(fd, other));
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    OK(fcntl(limit - 1, F_SETLK, &lock));
    for (int round = 0; round < 2; round++) {
        queues();
        segments();
        sets();
        look_at_descriptors();
        look_at_lock();
    }
    return 0;
}
