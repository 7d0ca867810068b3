<?php
// Workers count in shared memory under a semaphore, then answer messages. Prints the results.
[$workers, $rounds] = [(int)$argv[1], (int)$argv[2]];
function fail(string $what): never { fwrite(STDERR, "$what: " . (error_get_last()['message'] ?? '?') . "\n"); exit(1); }

$key = ftok(__FILE__, 'c');
$mutex = sem_get($key, 1, 0600, true) ?: fail('sem_get');
$memory = shm_attach($key, 65536, 0600) ?: fail('shm_attach');
$bytes = shmop_open(ftok(__FILE__, 'b'), 'n', 0600, 4096) ?: fail('shmop_open');
$queue = msg_get_queue(ftok(__FILE__, 'q'), 0600) ?: fail('msg_get_queue');
shm_put_var($memory, 1, 0) || fail('shm_put_var');
shmop_write($bytes, pack('J', 0), 0) === 8 || fail('shmop_write');

$pids = [];
for ($worker = 1; $worker <= $workers; $worker++) {
    $pid = pcntl_fork();
    if ($pid < 0) fail('fork');
    if ($pid > 0) { $pids[] = $pid; continue; }
    for ($round = 0; $round < $rounds; $round++) {
        sem_acquire($mutex) || fail('sem_acquire');
        shm_put_var($memory, 1, shm_get_var($memory, 1) + 1) || fail('shm_put_var');
        $sum = unpack('J', shmop_read($bytes, 0, 8))[1] + $worker;
        shmop_write($bytes, pack('J', $sum), 0);
        sem_release($mutex) || fail('sem_release');
    }
    // A question has the type of its worker, an answer 1000 more.
    msg_receive($queue, $worker, $type, 8192, $question) || fail('msg_receive');
    msg_send($queue, 1000 + $worker, ['worker' => $worker, 'square' => $question['number'] ** 2]) || fail('msg_send');
    exit(0);
}
for ($worker = 1; $worker <= $workers; $worker++) msg_send($queue, $worker, ['number' => $worker]) || fail('msg_send');
$squares = [];
for ($worker = 1; $worker <= $workers; $worker++) {
    msg_receive($queue, 1000 + $worker, $type, 8192, $answer) || fail('msg_receive');
    $squares[] = $answer['square'];
}
foreach ($pids as $pid) {
    pcntl_waitpid($pid, $status);
    $status === 0 || fail("worker $pid ended with $status");
}
$left = msg_stat_queue($queue)['msg_qnum'];
echo shm_get_var($memory, 1), ' ', unpack('J', shmop_read($bytes, 0, 8))[1], ' ', implode(',', $squares), " $left\n";
if (($argv[3] ?? '') !== 'keep') {
    shm_remove($memory) && sem_remove($mutex) && shmop_delete($bytes) && msg_remove_queue($queue) || fail('remove');
}
