/* A program that changes its environment: descriptors, working directory, umask. Each round is a
   child, so that its first call comes after the change, or before it. */
#include "check.h"

static int segment, set, queue;

/* All kinds of calls, on old and new objects. */
static void use_all(void) {
    char *at = OK(shmat(segment, NULL, 0));
    int other = OK(shmget(0x51b1, 300000, IPC_CREAT | 0600));
    char *new = OK(shmat(other, NULL, 0));
    new[299999] = at[0] = 1;
    EQ(attached(other), 1);
    OK(shmctl(other, IPC_RMID, NULL));
    OK(shmdt(new));
    OK(shmdt(at));
    EQ(op_of(set, 1, SEM_UNDO), 0);
    EQ(op_of(set, -1, SEM_UNDO), 0);
    other = OK(semget(0x51b2, 5, IPC_CREAT | 0600));
    EQ(op_of(other, 3, 0), 0);
    EQ(value_of(other), 3);
    OK(semctl(other, 0, IPC_RMID));
    struct message message = {3, "in the queue"};
    OK(msgsnd(queue, &message, 13, 0));
    memset(message.text, 0, sizeof message.text);
    EQ(msgrcv(queue, &message, sizeof message.text, 3, 0), 13);
    EQ(strcmp(message.text, "in the queue"), 0);
    other = OK(msgget(0x51b3, IPC_CREAT | 0600));
    OK(msgsnd(other, &message, 13, 0));
    EQ(messages(other), 1);
    OK(msgctl(other, IPC_RMID, NULL));
    struct shmid_ds ds;
    OK(shmctl(segment, IPC_STAT, &ds));
    EQ(ds.shm_perm.mode & 0777, 0640);
}

static void close_all(void) { OK(syscall(SYS_close_range, 3, ~0U, 0)); }

static void close_streams(void) {
    /* A failure shows in the exit status only. */
    OK(syscall(SYS_close_range, 0, ~0U, 0));
}

static void enter_a_removed_directory(void) {
    char name[] = "/tmp/quintet-XXXXXX";
    OK(mkdtemp(name));
    OK(chdir(name));
    OK(rmdir(name));
}

static void set_umask_to_none(void) { umask(0777); }
static void set_umask_to_all(void) { umask(0); }
static void unshare_files(void) { OK(unshare(CLONE_FILES)); }
static void unshare_directory(void) { OK(unshare(CLONE_FS)); }
static void do_nothing(void) {}

static ino_t inodes[32];

/* Replaces all descriptors by files of the program, with some content. */
static void reuse_descriptors(void) {
    EQ(chroot("/tmp/there is none"), -1);
    close_all();
    for (int fd = 3; fd < 32; fd++) {
        char name[] = "/tmp/quintet-XXXXXX";
        struct stat stat;
        EQ(mkstemp(name), fd);
        OK(unlink(name));
        EQ(write(fd, "mine", 4), 4);
        OK(fstat(fd, &stat));
        inodes[fd] = stat.st_ino;
    }
}

static void look_at_descriptors(void) {
    for (int fd = 3; fd < 32; fd++) {
        struct stat stat;
        OK(fstat(fd, &stat));
        EQ(stat.st_ino, inodes[fd]);
        EQ(stat.st_size, 4);
    }
    /* Nothing else is open. */
    EQ(dup(3), 32);
    EQ(close(32), 0);
    for (int fd = 32; fd < 200; fd++) EQ(fcntl(fd, F_GETFD), -1);
}

static void in_child(void (*change)(void), void (*look)(void), int before) {
    int child = OK(fork());
    if (child == 0) {
        if (before) use_all();
        change();
        for (int i = 0; i < 3; i++) use_all();
        look();
        /* A child that is created afterwards. */
        int grandchild = OK(fork());
        if (grandchild == 0) {
            use_all();
            exit(0);
        }
        EQ(end_of(grandchild), 0);
        exit(0);
    }
    EQ(end_of(child), 0);
    EQ(attached(segment), 0);
}

int main(void) {
    void (*changes[])(void) = {close_all, close_streams, enter_a_removed_directory, set_umask_to_none, set_umask_to_all,
                               unshare_files, unshare_directory};
    /* The objects, too, are created after this. */
    close_all();
    segment = OK(shmget(IPC_PRIVATE, 4096, 0640));
    set = new_set(0);
    queue = OK(msgget(IPC_PRIVATE, 0600));
    for (int before = 0; before < 2; before++) {
        for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) in_child(changes[i], do_nothing, before);
        in_child(reuse_descriptors, look_at_descriptors, before);
    }
    return 0;
}
