//! Creation of a namespace. Afterwards it exists or can be created.

use super::segments::{clear_all, consistent, free_or_whole};
use crate::campaign::{Run, operations};
use crate::support::{Scenario, begin, completed, finish, fork, names};
use quintet::{Errno, Kind, Namespace};
use std::path::Path;

operations! { "namespaces": private shared private_then_shared shared_then_private }

fn mode_of(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn assert_complete(path: &Path, kind: Kind) {
    let (folder, header, registry) = match kind {
        Kind::Private => (0o700, 0o600, 0o600),
        Kind::Shared => (0o1777, 0o644, 0o666),
    };
    let modes = ["", "shm", "sem", "msg", "key", "namespace", "registry"].map(|name| mode_of(&path.join(name)));
    let expected = [folder, folder, folder, folder, folder, header, registry];
    assert_eq!(modes.map(|m| format!("{m:o}")), expected.map(|m| format!("{m:o}")));
    assert_eq!(names(path), ["key", "msg", "namespace", "registry", "sem", "shm"]);
}

fn making(run: &Run, first: Kind, second: Kind) {
    Scenario {
        kind: second,
        has_namespace: false,
        stores: false,
        process: Some(&|path| {
            begin();
            Namespace::create(path, first).unwrap();
            finish();
        }),
        check: &|path, _| {
            fork(|| {
                let complete = Namespace::open(path).map(|ns| ns.kind());
                assert!(complete.is_ok() || !completed());
                match (&complete, Namespace::create(path, second)) {
                    (Ok(kind), Err(e)) => {
                        assert_eq!((*kind, e.errno()), (first, Errno::EXIST));
                        assert_ne!(first, second);
                        return;
                    }
                    (Ok(kind), Ok(_)) => assert_eq!((*kind, first), (second, second)),
                    (Err(e), created) => {
                        assert_eq!(e.errno(), Errno::NOENT, "{e}");
                        created.unwrap();
                    }
                }
                assert_complete(path, second);
                let ns = Namespace::open(path).unwrap();
                consistent(&ns);
                assert!(!free_or_whole(&ns, 100, 0o600, true));
                clear_all(path, &ns);
                ns.destroy(false).unwrap();
                assert!(!path.exists());
            })
            .succeeds();
        },
        ..Scenario::default()
    }
    .run(run);
}

fn private(run: &Run) {
    making(run, Kind::Private, Kind::Private);
}

fn shared(run: &Run) {
    making(run, Kind::Shared, Kind::Shared);
}

/// A creator of a shared namespace completes what a creator of a private one left.
fn private_then_shared(run: &Run) {
    making(run, Kind::Private, Kind::Shared);
}

fn shared_then_private(run: &Run) {
    making(run, Kind::Shared, Kind::Private);
}
