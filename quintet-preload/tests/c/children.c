/* Children of every kind: how they are created, what they do, how they end. */
#include "check.h"
#include <spawn.h>

enum { MANY = 300, AT_ONCE = 25 };

extern char **environ;
static int segment, set;
static char *memory;

/* Hundreds of children that attach, hold a unit, and end in every way. */
static void short_lived(void) {
    OK(semctl(set, 0, SETVAL, (union semun){.val = MANY}));
    *(_Atomic int *)memory = 0;
    for (int begun = 0; begun < MANY;) {
        int children[AT_ONCE], n;
        for (n = 0; n < AT_ONCE && begun < MANY; n++, begun++) {
            children[n] = OK(fork());
            if (children[n]) continue;
            EQ(op_of(set, -1, SEM_UNDO), 0);
            char *own = OK(shmat(segment, NULL, 0));
            ++*(_Atomic int *)own;
            switch (begun % 5) {
            case 0: exit(0);
            case 1: _exit(0);
            case 2: syscall(SYS_exit_group, 0); break;
            case 3: OK(shmdt(own)); OK(shmdt(memory)); _exit(0);
            default: raise(SIGKILL);
            }
        }
        while (n--) end_of(children[n]);
    }
    EQ(*(_Atomic int *)memory, MANY);
    EQ(attached(segment), 1);
    /* All units are available again. */
    EQ(op_of(set, -MANY, 0), 0);
    EQ(value_of(set), 0);
}

static int spawned(char *program, char *const argv[], char *const envp[]) {
    int child;
    EQ(posix_spawn(&child, program, NULL, NULL, argv, envp), 0);
    return end_of(child);
}

static void made_by_spawn_and_vfork(void) {
    char *argv[] = {"true", NULL};
    for (int i = 0; i < 20; i++) EQ(spawned("/bin/true", argv, environ), 0);
    for (int i = 0; i < 20; i++) {
        int child = vfork();
        if (child == 0) {
            if (i % 2) _exit(7);
            execv("/bin/true", argv);
            _exit(99);
        }
        OK(child);
        EQ(end_of(child), i % 2 ? 7 : 0);
    }
    EQ(attached(segment), 1);
}

/* A vfork child changes the memory that it shares with its parent. */
static void a_call_between_vfork_and_exec(void) {
    static void *volatile at;
    char *argv[] = {"true", NULL};
    OK(semctl(set, 0, SETVAL, (union semun){.val = 0}));
    for (int i = 0; i < 20; i++) {
        int child = vfork();
        if (child == 0) {
            at = shmat(segment, NULL, 0);
            if (at == (void *)-1 || op_of(set, 1, 0) != 0) _exit(98);
            if (i % 2) _exit(7);
            execv("/bin/true", argv);
            _exit(99);
        }
        OK(child);
        EQ(end_of(child), i % 2 ? 7 : 0);
        EQ(value_of(set), i + 1);
        EQ(attached(segment), 2);
        *(_Atomic int *)at = i;
        EQ(*(_Atomic int *)memory, i);
        EQ(op_of(set, -1, 0), 0);
        EQ(op_of(set, 1, 0), 0);
        EQ(shmdt(at), 0);
        EQ(attached(segment), 1);
    }
}

/* A raw system call, which no handler observes. */
static void made_by_a_raw_clone(void) {
    OK(semctl(set, 0, SETVAL, (union semun){.val = 3}));
    for (int i = 0; i < 20; i++) {
        int child = OK(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
        if (child == 0) {
            /* Counted from here on. */
            char *own = OK(shmat(segment, NULL, 0));
            if (attached(segment) != 3) _exit(1);
            if (op_of(set, -2, SEM_UNDO) != 0 || value_of(set) != 1) _exit(2);
            ++*(_Atomic int *)own;
            if (i % 2) syscall(SYS_exit_group, 0);
            _exit(0);
        }
        EQ(end_of(child), 0);
        EQ(attached(segment), 1);
        EQ(op_of(set, -3, 0), 0);
        EQ(op_of(set, 3, 0), 0);
    }
}

static int in_shared_memory(void *arg) {
    (void)arg;
    char *own = shmat(segment, NULL, 0);
    if (own == (void *)-1 || op_of(set, 1, 0) != 0 || shmdt(own) != 0) return 1;
    return 0;
}

/* Two processes in one address space, one after the other and both at once. */
static void made_by_clone_with_the_same_memory(int flags) {
    static char stack[1 << 16] __attribute__((aligned(16)));
    OK(semctl(set, 0, SETVAL, (union semun){.val = 0}));
    for (int i = 0; i < 20; i++) {
        int child = OK(clone(in_shared_memory, stack + sizeof stack, flags | SIGCHLD, NULL));
        EQ(op_of(set, -1, 0), 0);
        EQ(end_of(child), 0);
    }
    EQ(value_of(set), 0);
    EQ(attached(segment), 1);
}

/* A child that outlives its creator. */
static void a_daemon(void) {
    OK(semctl(set, 0, SETVAL, (union semun){.val = 0}));
    int middle = OK(fork());
    if (middle == 0) {
        OK(setsid());
        if (OK(fork()) != 0) _exit(0);
        /* Attached from the start, on its own account. */
        while (getppid() == middle) sched_yield();
        struct sembuf ops[] = {{0, 1, 0}};
        OK(semop(set, ops, 1));
        EQ(op_of(set, -2, 0), 0);
        _exit(0);
    }
    EQ(end_of(middle), 0);
    EQ(op_of(set, -1, 0), 0);
    EQ(attached(segment), 2);
    EQ(op_of(set, 2, 0), 0);
    while (attached(segment) != 1) sched_yield();
    EQ(value_of(set), 0);
}

static void the_parent_s_death(void) {
    OK(semctl(set, 0, SETVAL, (union semun){.val = 1}));
    int parent = OK(fork());
    if (parent == 0) {
        int child = OK(fork());
        if (child == 0) {
            OK(prctl(PR_SET_PDEATHSIG, SIGKILL));
            EQ(op_of(set, -1, SEM_UNDO), 0);
            for (;;) op_of(set, -1, 0);
        }
        while (semctl(set, 0, GETNCNT) != 1) sched_yield();
        EQ(attached(segment), 3);
        raise(SIGKILL);
    }
    EQ(end_of(parent), 1000 + SIGKILL);
    while (attached(segment) != 1) sched_yield();
    EQ(op_of(set, -1, 0), 0);
    EQ(semctl(set, 0, GETNCNT), 0);
}

static void *in_thread(void *arg) {
    for (int i = 0; i < 50; i++) {
        char *own = OK(shmat(segment, NULL, 0));
        EQ(op_of(set, -1, SEM_UNDO), 0);
        ++*(int *)own;
        EQ(op_of(set, 1, SEM_UNDO), 0);
        OK(shmdt(own));
    }
    return arg;
}

/* Threads start and end, and the process forks meanwhile. */
static void threads(void) {
    enum { THREADS = 8, ROUNDS = 10 };
    OK(semctl(set, 0, SETVAL, (union semun){.val = 1}));
    *(int *)memory = 0;
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t all[THREADS];
        for (int i = 0; i < THREADS; i++) EQ(pthread_create(&all[i], NULL, in_thread, NULL), 0);
        for (int i = 0; i < 5; i++) {
            int child = OK(fork());
            if (child == 0) {
                in_thread(NULL);
                _exit(0);
            }
            EQ(end_of(child), 0);
        }
        for (int i = 0; i < THREADS; i++) EQ(pthread_join(all[i], NULL), 0);
    }
    EQ(*(int *)memory, ROUNDS * 50 * (THREADS + 5));
    EQ(value_of(set), 1);
    EQ(attached(segment), 1);
}

int main(void) {
    segment = OK(shmget(IPC_PRIVATE, 4096, 0600));
    memory = OK(shmat(segment, NULL, 0));
    set = new_set(0);
    short_lived();
    made_by_spawn_and_vfork();
    a_call_between_vfork_and_exec();
    made_by_a_raw_clone();
    made_by_clone_with_the_same_memory(CLONE_VM | CLONE_VFORK);
    made_by_clone_with_the_same_memory(CLONE_VM);
    made_by_clone_with_the_same_memory(0);
    a_daemon();
    the_parent_s_death();
    threads();
    return 0;
}
