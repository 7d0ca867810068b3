//! Facts for the pages that the definitions of the command line do not hold.

/// A term and its explanation.
type Row = (&'static str, &'static str);

/// Returns the exit codes of a command that does not list them in its help.
pub fn exit_status(name: &str) -> Vec<Row> {
    let failure = match name {
        "quintet-doctor" => "The command failed, or doctor found a fault.",
        _ => "The command failed. Standard error gives the reason.",
    };
    let mut rows = vec![("0", "The command succeeded."), ("1", failure), ("2", "The command line is invalid.")];
    if name == "quintet" {
        rows.extend([
            ("124", "A call of sem op, msg send or msg recv would block, or timed out."),
            ("125", "The commands run and sem op failed before they started the program."),
            ("126", "The program cannot be executed or intercepted."),
            ("127", "The program was not found."),
        ]);
    }
    rows
}

/// Returns the variables that a command reads, except those that its help lists.
pub fn environment(name: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    if uses_namespace(name) {
        rows.push(("QUINTET_NAMESPACE", "The directory of the namespace, if --namespace is not given."));
    }
    if name == "quintet-man" {
        rows.push(("SOURCE_DATE_EPOCH", "The date of the pages, in seconds since the Epoch. The default is the current date."));
    }
    if name == "quintet-run" {
        rows.push(("LD_PRELOAD", "Libraries that the program loads after the drop-in."));
    }
    if ["quintet-run", "quintet-sem-op", "quintet-doctor"].contains(&name) {
        rows.push(("PATH", "The directories in which the program is searched."));
    }
    if installs_library(name) {
        rows.push(("XDG_CACHE_HOME", "The directory of caches; the default is $HOME/.cache. See FILES."));
    }
    rows.push(("NO_COLOR", "If it is set and not empty, --color auto prints no colours."));
    rows.push(("TERM", "If it is dumb, --color auto prints no colours."));
    rows
}

/// Returns the files that a command uses, except those that its arguments name.
pub fn files(name: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    match name {
        "quintet-completions" => rows.extend([
            ("~/.local/share/bash-completion/completions/quintet", "Completions of bash."),
            ("~/.zfunc/_quintet", "Completions of zsh, if fpath contains ~/.zfunc."),
            ("~/.config/fish/completions/quintet.fish", "Completions of fish."),
        ]),
        "quintet-man" => rows.extend([
            ("DIR/quintet.1", "The page of the whole command."),
            ("DIR/quintet-COMMAND.1", "The page of a command; quintet-sem-op.1 is that of sem op."),
            ("DIR/quintet.7", "The overview."),
        ]),
        "quintet-demo" => rows.push(("/dev/shm/quintet-private-*", "The namespace of the demo. It is removed at the end.")),
        _ => {}
    }
    if uses_namespace(name) {
        rows.push((
            "/dev/shm/quintet-UID",
            "The default namespace of the user UID. The superuser's default namespace is a directory with a random name in \
             /dev/shm/quintet-0.",
        ));
    }
    if names_namespace(name) || uses_namespace(name) {
        rows.push(("NAMESPACE/namespace", "The header, with the limits of the namespace."));
        rows.push(("NAMESPACE/shm, NAMESPACE/sem, NAMESPACE/msg", "The objects, one or two files for each."));
    }
    if installs_library(name) {
        rows.push((
            "~/.cache/quintet/libquintet-HASH.so",
            "The drop-in library, which the command installs on first use. The superuser's is in /var/cache/quintet or \
             /run/quintet. If these directories are not usable, it is in /tmp/quintet-UID.",
        ));
    }
    rows
}

/// Returns the pages to read next.
pub fn see_also(name: &str) -> Vec<&'static str> {
    let further: &[&str] = match name {
        "quintet" => &["quintet-run(1)", "quintet-ls(1)", "quintet-why(1)", "quintet-doctor(1)", "ipcs(1)"],
        "quintet-run" => &["quintet(1)", "quintet-doctor(1)", "quintet-namespace(1)", "ld.so(8)"],
        "quintet-ls" => &["quintet(1)", "quintet-stat(1)", "quintet-why(1)", "ipcs(1)", "lsipc(1)"],
        "quintet-stat" => &["quintet(1)", "quintet-ls(1)", "shmctl(2)", "semctl(2)", "msgctl(2)"],
        "quintet-create" => &[
            "quintet(1)",
            "quintet-create-shm(1)",
            "quintet-create-sem(1)",
            "quintet-create-msg(1)",
            "quintet-rm(1)",
            "ipcmk(1)",
        ],
        "quintet-create-shm" => &["quintet-create(1)", "quintet-write(1)", "shmget(2)", "ftok(3)"],
        "quintet-create-sem" => &["quintet-create(1)", "quintet-sem(1)", "semget(2)", "ftok(3)"],
        "quintet-create-msg" => &["quintet-create(1)", "quintet-msg(1)", "msgget(2)", "ftok(3)"],
        "quintet-rm" => &["quintet(1)", "quintet-ls(1)", "quintet-create(1)", "ipcrm(1)"],
        "quintet-cat" => &["quintet(1)", "quintet-write(1)", "shmat(2)"],
        "quintet-write" => &["quintet(1)", "quintet-cat(1)", "shmat(2)"],
        "quintet-sem" => &["quintet(1)", "quintet-create-sem(1)", "quintet-why(1)", "semop(2)", "semctl(2)"],
        "quintet-sem-op" => &["quintet-sem(1)", "quintet-sem-get(1)", "quintet-why(1)", "flock(1)", "semop(2)"],
        "quintet-sem-get" => &["quintet-sem(1)", "quintet-sem-set(1)", "quintet-stat(1)", "semctl(2)"],
        "quintet-sem-set" => &["quintet-sem(1)", "quintet-sem-get(1)", "semctl(2)"],
        "quintet-msg" => &["quintet(1)", "quintet-create-msg(1)", "quintet-why(1)", "msgop(2)", "msgctl(2)"],
        "quintet-msg-send" => &["quintet-msg(1)", "quintet-msg-recv(1)", "msgop(2)"],
        "quintet-msg-recv" => &["quintet-msg(1)", "quintet-msg-send(1)", "quintet-msg-peek(1)", "msgop(2)"],
        "quintet-msg-peek" => &["quintet-msg(1)", "quintet-msg-recv(1)", "quintet-stat(1)", "msgop(2)"],
        "quintet-why" => &["quintet(1)", "quintet-ls(1)", "quintet-stat(1)", "semctl(2)", "msgctl(2)"],
        "quintet-namespace" => &[
            "quintet(1)",
            "quintet-namespace-create(1)",
            "quintet-namespace-limits(1)",
            "quintet-namespace-ls(1)",
            "quintet-namespace-rm(1)",
            "ipc_namespaces(7)",
        ],
        "quintet-namespace-create" => &["quintet-namespace(1)", "quintet-namespace-limits(1)", "quintet-namespace-rm(1)"],
        "quintet-namespace-ls" => &["quintet-namespace(1)", "quintet-ls(1)"],
        "quintet-namespace-rm" => &["quintet-namespace(1)", "quintet-rm(1)", "quintet-doctor(1)"],
        "quintet-namespace-limits" => &["quintet-namespace(1)", "proc(5)", "sysctl(8)"],
        "quintet-doctor" => &["quintet(1)", "quintet-run(1)", "quintet-why(1)", "ld.so(8)"],
        "quintet-demo" => &["quintet(1)", "quintet-run(1)"],
        "quintet-man" => &["quintet(1)", "quintet-completions(1)", "man(1)"],
        "quintet-completions" => &["quintet(1)", "quintet-man(1)", "bash(1)", "zsh(1)"],
        _ => &["quintet(1)"],
    };
    further.iter().copied().chain(["quintet(7)", "sysvipc(7)"]).collect()
}

/// Returns `true` if the global options or the environment select the command's namespace.
fn uses_namespace(name: &str) -> bool {
    let without = ["quintet-completions", "quintet-man", "quintet-demo"];
    !without.contains(&name) && !names_namespace(name)
}

/// Returns `true` if an argument names the command's namespace.
fn names_namespace(name: &str) -> bool {
    ["quintet-namespace-create", "quintet-namespace-rm"].contains(&name)
}

/// Returns `true` if the command installs the drop-in.
fn installs_library(name: &str) -> bool {
    ["quintet", "quintet-run", "quintet-demo", "quintet-doctor"].contains(&name)
}
