# Workers count in shared memory under a semaphore, with the builtins and with each module, then answer messages.
use strict; use warnings;
use IPC::SysV qw(IPC_PRIVATE IPC_CREAT IPC_EXCL IPC_RMID IPC_STAT IPC_NOWAIT SEM_UNDO GETVAL SETVAL S_IRUSR S_IWUSR ftok shmat shmdt memread memwrite);
use IPC::Semaphore; use IPC::Msg; use IPC::SharedMem;
my ($workers, $rounds) = @ARGV;
my $mode = S_IRUSR | S_IWUSR | IPC_CREAT | IPC_EXCL;

# The builtins.
my $set = semget(IPC_PRIVATE, 1, $mode) // die "semget: $!";
my $memory = shmget(IPC_PRIVATE, 4096, $mode) // die "shmget: $!";
my $queue = msgget(IPC_PRIVATE, $mode) // die "msgget: $!";
semctl($set, 0, SETVAL, 1) // die "semctl: $!";
shmwrite($memory, pack('Q', 0), 0, 8) or die "shmwrite: $!";

# The modules.
my $sems = IPC::Semaphore->new(ftok($0, 2), 2, $mode) // die "IPC::Semaphore: $!";
$sems->setall(1, 0) // die "setall: $!";
my $shared = IPC::SharedMem->new(ftok($0, 3), 4096, $mode) // die "IPC::SharedMem: $!";
$shared->write(pack('Q', 0), 0, 8) or die "write: $!";
my $msg = IPC::Msg->new(ftok($0, 4), $mode) // die "IPC::Msg: $!";

my @pids;
for my $worker (1 .. $workers) {
    my $pid = fork // die "fork: $!";
    if ($pid) { push @pids, $pid; next }
    for (1 .. $rounds) {
        semop($set, pack('s3', 0, -1, SEM_UNDO)) or die "semop: $!";
        shmread($memory, my $count, 0, 8) or die "shmread: $!";
        shmwrite($memory, pack('Q', 1 + unpack 'Q', $count), 0, 8) or die "shmwrite: $!";
        semop($set, pack('s3', 0, 1, SEM_UNDO)) or die "semop: $!";
        $sems->op(0, -1, SEM_UNDO, 1, 1, 0) // die "op: $!";
        $shared->write(pack('Q', $worker + unpack 'Q', $shared->read(0, 8)), 0, 8) or die "write: $!";
        $sems->op(0, 1, SEM_UNDO) // die "op: $!";
    }
    msgrcv($queue, my $question, 100, $worker, 0) or die "msgrcv: $!";
    my ($type, $number) = unpack 'l! Q', $question;
    $msg->snd(1000 + $worker, pack 'Q', $number ** 2) or die "snd: $!";
    exit 0;
}
msgsnd($queue, pack('l! Q', $_, $_), 0) or die "msgsnd: $!" for 1 .. $workers;
my @squares;
for my $worker (1 .. $workers) {
    my $type = $msg->rcv(my $answer, 100, 1000 + $worker) // die "rcv: $!";
    $type == 1000 + $worker or die "a message of type $type";
    push @squares, unpack 'Q', $answer;
}
for my $pid (@pids) { waitpid $pid, 0; $? == 0 or die "worker $pid ended with $?" }
shmread($memory, my $count, 0, 8) or die "shmread: $!";
my $address = shmat($memory, undef, 0) // die "shmat: $!";
memread($address, my $same, 0, 8) or die "memread: $!";
$same eq $count or die 'shmread and memread differ';
shmdt($address) // die "shmdt: $!";
my $sum = unpack 'Q', $shared->read(0, 8);
my $left = $msg->stat->qnum;
printf "%d %d %s %d %s\n", unpack('Q', $count), $sum, join(',', @squares), $left, join(',', $sems->getall);
msgrcv($queue, my $none, 100, 0, IPC_NOWAIT) and die 'a message is left';
$!{ENOMSG} or die "msgrcv: $!";
semctl($set, 0, IPC_RMID, 0) && shmctl($memory, IPC_RMID, 0) && msgctl($queue, IPC_RMID, 0) or die "remove: $!";
$sems->remove && $shared->remove && $msg->remove or die "remove: $!";
