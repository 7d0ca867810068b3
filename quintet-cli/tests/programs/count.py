"""Workers count in shared memory under a semaphore, then answer messages."""
import os, struct, sys
import sysv_ipc

workers, rounds = int(sys.argv[1]), int(sys.argv[2])
key = sysv_ipc.ftok(__file__, 1)
mutex = sysv_ipc.Semaphore(key, sysv_ipc.IPC_CREX, 0o600, 1)
memory = sysv_ipc.SharedMemory(key, sysv_ipc.IPC_CREX, 0o600, 4096)
queue = sysv_ipc.MessageQueue(key, sysv_ipc.IPC_CREX, 0o600)
memory.write(struct.pack("Q", 0))
mutex.undo = True

children = []
for worker in range(1, workers + 1):
    pid = os.fork()
    if pid:
        children.append(pid)
        continue
    status = 1
    try:
        for _ in range(rounds):
            with mutex:
                (count,) = struct.unpack("Q", memory.read(8))
                memory.write(struct.pack("Q", count + 1))
        question, kind = queue.receive(type=worker)
        assert kind == worker
        queue.send(str(int(question) ** 2).encode(), type=1000 + worker)
        status = 0
    finally:
        os._exit(status)

for worker in range(1, workers + 1):
    queue.send(str(worker).encode(), type=worker)
squares = [int(queue.receive(type=1000 + worker)[0]) for worker in range(1, workers + 1)]
for pid in children:
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
try:
    mutex.P()
    mutex.acquire(timeout=0)
    sys.exit("the semaphore was acquired twice")
except sysv_ipc.BusyError:
    mutex.V()
try:
    queue.receive(block=False)
    sys.exit("a message is left")
except sysv_ipc.BusyError:
    pass
try:
    sysv_ipc.Semaphore(key, sysv_ipc.IPC_CREX)
    sys.exit("the semaphore was created twice")
except sysv_ipc.ExistentialError:
    pass
(count,) = struct.unpack("Q", memory.read(8))
print(count, memory.number_attached, ",".join(map(str, squares)), queue.current_messages, mutex.value)
memory.detach()
memory.remove()
queue.remove()
mutex.remove()
