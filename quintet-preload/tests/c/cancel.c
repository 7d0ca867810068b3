/* Threads that are cancelled before, in and between calls. */
#include "check.h"

static int queue, set;
static _Atomic int tid, cleaned, arrived;

static void cleanup(void *arg) {
    (void)arg;
    cleaned++;
}

static void *receives(void *arg) {
    struct message message;
    long type = (long)arg;
    ssize_t n;
    tid = gettid();
    pthread_cleanup_push(cleanup, NULL);
    n = msgrcv(queue, &message, sizeof message.text, type, 0);
    arrived += n >= 0 ? message.text[0] : 1000;
    pthread_cleanup_pop(0);
    return (void *)(n >= 0 ? (long)message.text[0] : -errno);
}

static void *sends(void *arg) {
    struct message message = {1, "x"};
    (void)arg;
    tid = gettid();
    pthread_cleanup_push(cleanup, NULL);
    OK(msgsnd(queue, &message, sizeof message.text, 0));
    pthread_cleanup_pop(0);
    return NULL;
}

static pthread_t begin(void *(*body)(void *), void *arg) {
    pthread_t thread;
    tid = 0;
    EQ(pthread_create(&thread, NULL, body, arg), 0);
    return thread;
}

static pthread_t begin_to_wait(void *(*body)(void *), void *arg) {
    pthread_t thread = begin(body, arg);
    while (!tid) sched_yield();
    until_it_waits(getpid(), tid);
    return thread;
}

static void *result(pthread_t thread) {
    void *value;
    EQ(pthread_join(thread, &value), 0);
    return value;
}

static void send(char what) {
    struct message message = {1, {what}};
    OK(msgsnd(queue, &message, 1, 0));
}

static int receive(void) {
    struct message message;
    return msgrcv(queue, &message, sizeof message.text, 0, IPC_NOWAIT) < 0 ? -errno : message.text[0];
}

static void cancel_a_receiver(void) {
    cleaned = arrived = 0;
    pthread_t thread = begin_to_wait(receives, NULL);
    EQ(pthread_cancel(thread), 0);
    EQ(result(thread), PTHREAD_CANCELED);
    EQ(cleaned, 1);
    /* The cancelled thread takes no message. */
    send('a');
    EQ(messages(queue), 1);
    EQ(receive(), 'a');
    EQ(arrived, 0);
}

static void waiters_keep_their_order(void) {
    pthread_t first = begin_to_wait(receives, NULL), cancelled = begin_to_wait(receives, NULL), last = begin_to_wait(receives, NULL);
    EQ(pthread_cancel(cancelled), 0);
    EQ(result(cancelled), PTHREAD_CANCELED);
    send('1');
    send('2');
    EQ(result(first), '1');
    EQ(result(last), '2');
}

static void cancel_a_sender(void) {
    struct message message = {1, "x"};
    int sent = 0;
    while (msgsnd(queue, &message, sizeof message.text, IPC_NOWAIT) == 0) sent++;
    EQ(errno, EAGAIN);
    cleaned = 0;
    pthread_t thread = begin_to_wait(sends, NULL);
    EQ(pthread_cancel(thread), 0);
    EQ(result(thread), PTHREAD_CANCELED);
    EQ(cleaned, 1);
    EQ(messages(queue), sent);
    EQ(receive(), 'x');
    /* The cancelled thread sends nothing when there is room. */
    EQ(messages(queue), sent - 1);
    while (receive() == 'x') {}
}

static void *receives_when_cancelled(void *arg) {
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    tid = gettid();
    while (!arrived) sched_yield();
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    return receives(arg);
}

static void cancel_without_a_wait(void) {
    send('b');
    cleaned = arrived = 0;
    pthread_t thread = begin(receives_when_cancelled, NULL);
    while (!tid) sched_yield();
    EQ(pthread_cancel(thread), 0);
    arrived = 1;
    EQ(result(thread), PTHREAD_CANCELED);
    EQ(cleaned, 1);
    EQ(receive(), 'b');
}

static void *receives_uncancellably(void *arg) {
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    void *value = receives(arg);
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    pthread_testcancel();
    (void)value;
    return NULL;
}

static void uncancellable_thread_continues(void) {
    cleaned = arrived = 0;
    pthread_t thread = begin_to_wait(receives_uncancellably, NULL), other = begin_to_wait(receives, NULL);
    EQ(pthread_cancel(thread), 0);
    /* It has kept its place. */
    send('c');
    EQ(result(thread), PTHREAD_CANCELED);
    EQ(arrived, 'c');
    send('d');
    EQ(result(other), 'd');
    EQ(cleaned, 0);
}

static void *operates(void *arg) {
    tid = gettid();
    pthread_cleanup_push(cleanup, NULL);
    if (arg) pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    arrived = op_of(set, -1, 0) == 0 ? 1 : -errno;
    pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, NULL);
    pthread_testcancel();
    pthread_cleanup_pop(0);
    return NULL;
}

static void semop_is_no_cancellation_point(void) {
    cleaned = arrived = 0;
    pthread_t thread = begin_to_wait(operates, NULL);
    EQ(pthread_cancel(thread), 0);
    EQ(semctl(set, 0, GETNCNT), 1);
    EQ(op_of(set, 1, 0), 0);
    EQ(result(thread), PTHREAD_CANCELED);
    EQ(arrived, 1);
    EQ(cleaned, 1);
    EQ(value_of(set), 0);
}

static void asynchronous_cancellation_ends_semop(void) {
    cleaned = arrived = 0;
    pthread_t thread = begin_to_wait(operates, &set);
    EQ(pthread_cancel(thread), 0);
    EQ(result(thread), PTHREAD_CANCELED);
    EQ(arrived, 0);
    EQ(cleaned, 1);
    EQ(semctl(set, 0, GETNCNT), 0);
    EQ(op_of(set, 1, 0), 0);
    EQ(op_of(set, -1, 0), 0);
}

static void *opens_files(void *arg) {
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    tid = gettid();
    while (!arrived) sched_yield();
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    int id = OK(shmget(IPC_PRIVATE, 1 << 20, 0600));
    void *at = OK(shmat(id, NULL, 0));
    OK(shmctl(id, IPC_RMID, NULL));
    OK(shmdt(at));
    id = new_set(1);
    EQ(op_of(id, -1, SEM_UNDO), 0);
    EQ(op_of(id, 1, SEM_UNDO), 0);
    OK(semctl(id, 0, IPC_RMID));
    id = OK(msgget(IPC_PRIVATE, 0600));
    OK(msgctl(id, IPC_RMID, NULL));
    arrived = 2;
    pthread_testcancel();
    return arg;
}

static void other_calls_are_no_cancellation_points(void) {
    arrived = 0;
    pthread_t thread = begin(opens_files, NULL);
    while (!tid) sched_yield();
    EQ(pthread_cancel(thread), 0);
    arrived = 1;
    EQ(result(thread), PTHREAD_CANCELED);
    EQ(arrived, 2);
}

/* Makes calls that ask the kernel or take a lock, until it is cancelled in one of them. */
static void *calls(void *arg) {
    static int segment = -1;
    struct message message = {1, "y"};
    struct timespec no_time = {0, 1000};
    if (segment == -1) segment = OK(shmget(IPC_PRIVATE, 4096, 0600));
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    for (;;) {
        struct sembuf ops[] = {{0, 1, 0}, {0, -1, 0}}, takes = {0, -1, 0};
        struct shmid_ds ds;
        semop(set, ops, 2);
        semtimedop(set, &takes, 1, &no_time);
        semctl(set, 0, GETVAL);
        shmctl(segment, IPC_STAT, &ds);
        msgsnd(queue, &message, 1, IPC_NOWAIT);
        msgrcv(queue, &message, 1, 0, IPC_NOWAIT);
        tid = gettid();
    }
    return arg;
}

static void objects_survive_cancellation_anywhere(int rounds) {
    struct timespec nap = {0, 0};
    for (int round = 0; round < rounds; round++) {
        pthread_t thread = begin(calls, NULL);
        while (!tid) sched_yield();
        /* A different moment each time. */
        nap.tv_nsec = round * 1777 % 50000;
        nanosleep(&nap, NULL);
        EQ(pthread_cancel(thread), 0);
        EQ(result(thread), PTHREAD_CANCELED);
        EQ(value_of(set), 0);
        while (receive() == 'y') {}
        EQ(messages(queue), 0);
        EQ(semctl(set, 0, GETNCNT), 0);
    }
}

int main(void) {
    queue = OK(msgget(IPC_PRIVATE, 0600));
    set = new_set(0);
    cancel_a_receiver();
    waiters_keep_their_order();
    cancel_a_sender();
    cancel_without_a_wait();
    uncancellable_thread_continues();
    semop_is_no_cancellation_point();
    other_calls_are_no_cancellation_points();
    asynchronous_cancellation_ends_semop();
    for (int round = 0; round < 100; round++) cancel_a_receiver();
    objects_survive_cancellation_anywhere(500);
    return 0;
}
