//! Namespaces that are not what they should be: an error that names the path and what to do, nothing changed on disk,
//! no hang, no panic.

use quintet::{Errno, Id, Key, Kind, Namespace, Segment};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("ns")
    }

    /// A namespace with a segment, made by another process: this one has nothing of it mapped.
    fn with_namespace(kind: &str) -> Place {
        let place = Place::new();
        assert!(role("makes_a_namespace", &place.path(), kind).success());
        place
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

const PATH: &str = "QUINTET_TEST_DAMAGE_PATH";
const DETAIL: &str = "QUINTET_TEST_DAMAGE_DETAIL";

/// Has one of the tests below, which do nothing by themselves, play a role in another process.
fn role(name: &str, path: &Path, detail: &str) -> std::process::ExitStatus {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", name, "--nocapture"]).env(PATH, path).env(DETAIL, detail);
    let output = child.output().unwrap();
    if !output.status.success() {
        println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }
    output.status
}

fn asked() -> Option<(PathBuf, String)> {
    Some((std::env::var_os(PATH)?.into(), std::env::var(DETAIL).ok()?))
}

#[test]
fn makes_a_namespace() {
    let Some((path, kind)) = asked() else { return };
    let kind = if kind == "shared" { Kind::Shared } else { Kind::Private };
    let ns = Namespace::create(path, kind).unwrap();
    Segment::create(&ns, Key::new(7), 5000).unwrap().attach().unwrap().write(0, b"kept").unwrap();
}

/// Every file of a tree with its mode and content.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let meta = fs::symlink_metadata(entry.path()).unwrap();
        let content = if meta.is_file() { fs::read(entry.path()).unwrap_or_default() } else { Vec::new() };
        all.insert(entry.path(), (meta.permissions().mode(), content));
        if meta.is_dir() {
            all.extend(snapshot(&entry.path()));
        }
    }
    all
}

/// Opening and creating are refused with `errno`; the sentence names the path and has `words`; nothing is changed.
fn refused(path: &Path, errno: Errno, words: &[&str]) {
    let before = snapshot(path.parent().unwrap());
    let error = Namespace::open(path).expect_err("it is damaged");
    assert_eq!(error.errno(), errno, "{error}");
    let text = error.to_string();
    for word in words.iter().chain([&path.to_str().unwrap()]) {
        assert!(text.contains(word), "'{word}' is missing in: {text}");
    }
    assert_eq!(snapshot(path.parent().unwrap()), before);
}

#[test]
fn a_path_that_is_no_namespace() {
    let place = Place::new();
    refused(&place.path(), Errno::NOENT, &["quintet namespace create"]);
    fs::write(place.path(), "a file").unwrap();
    refused(&place.path(), Errno::NOTDIR, &["not a directory", "another path"]);
    let error = Namespace::create(place.path(), Kind::Private).expect_err("a file is in the way");
    assert_eq!(error.errno(), Errno::NOTDIR, "{error}");
    assert_eq!(fs::read_to_string(place.path()).unwrap(), "a file");
    fs::remove_file(place.path()).unwrap();

    fs::create_dir(place.path()).unwrap();
    refused(&place.path(), Errno::NOENT, &["no namespace", "quintet namespace create"]);
    fs::write(place.file("letter"), "mine").unwrap();
    let error = Namespace::create(place.path(), Kind::Private).expect_err("it is not empty");
    assert_eq!(error.errno(), Errno::NOTEMPTY);
    assert!(error.to_string().contains("letter"), "{error}");
    assert_eq!(snapshot(&place.path()).len(), 1);

    let error = Namespace::create(place.path().join("no/such"), Kind::Private).expect_err("no parent");
    assert_eq!(error.errno(), Errno::NOENT);
    assert!(error.to_string().contains("parent"), "{error}");
    let long = place
        .0
        .path()
        .join("x".repeat(200))
        .join("y".repeat(200))
        .join("z".repeat(200))
        .join("z".repeat(200))
        .join("z".repeat(200));
    fs::create_dir_all(&long).unwrap();
    refused(&long, Errno::NAMETOOLONG, &["shorter path"]);
}

#[test]
fn one_that_may_not_be_entered() {
    if rustix::process::geteuid().is_root() {
        println!("skipped: root may enter everything");
        return;
    }
    let place = Place::with_namespace("private");
    fs::set_permissions(place.file("registry"), fs::Permissions::from_mode(0o400)).unwrap();
    for mode in [0o000, 0o500] {
        fs::set_permissions(place.path(), fs::Permissions::from_mode(mode)).unwrap();
        let error = Namespace::open(place.path()).expect_err("it may not be written");
        assert_eq!(error.errno(), Errno::ACCES);
        assert!(error.to_string().contains("may not enter or write"), "{error}");
    }
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_damaged_header() {
    let place = Place::with_namespace("private");
    let header = fs::read(place.file("namespace")).unwrap();
    let noise: Vec<u8> = (0..4096u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut flipped = header.clone();
    flipped[12] ^= 1;
    for content in [&header[..100], &[], &noise, &[0; 4096], &flipped] {
        fs::write(place.file("namespace"), content).unwrap();
        refused(&place.path(), Errno::BADMSG, &["'namespace' is damaged", "nothing was changed"]);
        // Who would create it finds the same.
        assert_eq!(Namespace::create(place.path(), Kind::Private).expect_err("damaged").errno(), Errno::BADMSG);
    }
    fs::write(place.file("namespace"), header).unwrap();
    let ns = Namespace::open(place.path()).unwrap();
    assert_eq!(Segment::open(&ns, Key::new(7)).unwrap().attach().unwrap().to_vec(0..4).unwrap(), b"kept");
}

#[test]
fn a_newer_version() {
    let place = Place::with_namespace("private");
    let mut header = fs::read(place.file("namespace")).unwrap();
    header[8] = 2;
    let word = |range: std::ops::Range<usize>| header[range].iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
    let check = [word(0..8), word(8..12), word(12..16)].into_iter().fold(0xcbf2_9ce4_8422_2325, mix);
    header[16..24].copy_from_slice(&check.to_le_bytes());
    fs::write(place.file("namespace"), &header).unwrap();
    refused(&place.path(), Errno::PROTONOSUPPORT, &["layout version 2", "knows 1"]);
}

#[test]
fn a_damaged_registry() {
    let place = Place::with_namespace("private");
    let registry = fs::read(place.file("registry")).unwrap();
    for content in [&registry[..4096], &[], &vec![0x5a; registry.len()], &vec![0; registry.len()]] {
        fs::write(place.file("registry"), content).unwrap();
        refused(&place.path(), Errno::BADMSG, &["'registry' is damaged"]);
    }
}

#[test]
fn other_things_in_the_place_of_files() {
    for name in ["namespace", "registry"] {
        let place = Place::with_namespace("private");
        let path = place.file(name);
        fs::rename(&path, place.0.path().join("aside")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        refused(&place.path(), Errno::BADMSG, &["damaged"]);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        refused(&place.path(), Errno::BADMSG, &["damaged"]);
        fs::remove_dir(&path).unwrap();
        symlink(place.0.path().join("aside"), &path).unwrap();
        refused(&place.path(), Errno::BADMSG, &["damaged"]);
    }
}

/// A control file that is something else is no segment; others, and new ones, are not touched by that.
#[test]
fn other_things_in_the_place_of_a_segment() {
    let replacements: [fn(&Path); 5] = [
        |path| rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RWXU).unwrap(),
        |path| fs::create_dir(path).unwrap(),
        |path| symlink("/etc/passwd", path).unwrap(),
        |path| fs::write(path, "").unwrap(),
        |path| fs::write(path, vec![0xa5; 65536]).unwrap(),
    ];
    for (nth, replace) in replacements.into_iter().enumerate() {
        for file in ["shm/0", "shm/0.data"] {
            // A file of the owner's own that is large enough cannot be told from the data.
            if file == "shm/0.data" && nth == 4 {
                continue;
            }
            let place = Place::with_namespace("private");
            let path = place.file(file);
            fs::remove_file(&path).unwrap();
            replace(&path);
            let ns = Namespace::open(place.path()).unwrap();
            if let Ok(segment) = Segment::open(&ns, Key::new(7)) {
                // The control file is whole: the data is not.
                assert_eq!(file, "shm/0.data");
                let error = segment.attach().expect_err("there is nothing to attach");
                assert!([Errno::INVAL, Errno::ACCES].contains(&error.errno()), "{error}");
            }
            let other = Segment::create(&ns, Key::new(8), 4096).unwrap();
            other.attach().unwrap().write(0, b"fine").unwrap();
            assert_ne!(other.id().index(), 0, "{file}");
            assert!(ns.segments().unwrap().iter().any(|s| s.stat.id == other.id()));
        }
    }
}

#[test]
fn other_things_in_the_place_of_a_key() {
    let replacements: [fn(&Path); 4] = [
        |path| rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RWXU).unwrap(),
        |path| fs::write(path, "0").unwrap(),
        |path| symlink("not a number", path).unwrap(),
        |path| symlink("99999999999999999999", path).unwrap(),
    ];
    for replace in replacements {
        let place = Place::with_namespace("shared");
        let name = place.file("key/shm.00000007");
        fs::remove_file(&name).unwrap();
        replace(&name);
        let ns = Namespace::open(place.path()).unwrap();
        assert_eq!(Segment::open(&ns, Key::new(7)).expect_err("the name is gone").errno(), Errno::NOENT);
        let new = Segment::create_new(&ns, Key::new(7), 100).unwrap();
        assert_eq!(Segment::open(&ns, Key::new(7)).unwrap().id(), new.id());
        assert_eq!(Segment::open_id(&ns, Id::new(0, 0)).unwrap().stat().unwrap().size, 5000);
    }
}

/// Random bytes in the control file and the registry, of unchanged size, before and between calls: any answer will do, but no
/// panic, no signal, no hang, and no other segment is touched.
#[test]
fn random_bytes_anywhere() {
    let batches = 12;
    for batch in 0..batches {
        let place = Place::with_namespace(if batch % 2 == 0 { "private" } else { "shared" });
        let status = role("works_on_random_bytes", &place.path(), &batch.to_string());
        assert_eq!((status.signal(), status.code()), (None, Some(0)), "batch {batch}");
    }
}

/// xorshift64*
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

#[test]
fn works_on_random_bytes() {
    let Some((path, batch)) = asked() else { return };
    // A call that does not come back ends the process.
    rustix::process::setrlimit(
        rustix::process::Resource::Cpu,
        rustix::process::Rlimit { current: Some(120), maximum: Some(120) },
    )
    .unwrap();
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (batch.parse::<u64>().unwrap() + 1));
    let ns = Namespace::open(&path).unwrap();
    let witness = Segment::create(&ns, Key::new(1000), 8192).unwrap().attach().unwrap();
    witness.fill(0, 8192, 0x77).unwrap();
    let files: Vec<fs::File> =
        ["registry", "shm/0"].iter().map(|name| fs::OpenOptions::new().write(true).open(path.join(name)).unwrap()).collect();
    for _ in 0..1000 {
        let file = &files[random.next() as usize % 2];
        // Mostly where the fields are; the lock word is left alone (whoever holds it while alive is waited for).
        let offset = match random.next() % 8 {
            0 => random.next() % 65536,
            1 => 4096 + random.next() % 64,
            2 => 8192 + random.next() % 128,
            _ => 16 + random.next() % 544,
        };
        let bytes = match random.next() % 4 {
            0 => [0xff; 8],
            1 => [0; 8],
            _ => random.next().to_le_bytes(),
        };
        file.write_all_at(&bytes[..1 + random.next() as usize % 8], offset).unwrap();
        use_it(&ns, &mut random);
    }
    assert_eq!(witness.to_vec(0..8192).unwrap(), [0x77; 8192]);
}

fn use_it(ns: &Namespace, random: &mut Random) {
    match random.next() % 9 {
        0 => drop(ns.segments()),
        1 => drop(ns.shm_usage()),
        2 => {
            drop(Segment::create(ns, Key::new(random.next() as i32 % 4 + 7), 1 + random.next() % 70_000).and_then(|s| s.remove()))
        }
        3 => drop(Segment::create(ns, Key::PRIVATE, 1 + random.next() % 9_000).and_then(|s| s.remove())),
        4 => drop(Segment::open(ns, Key::new(7)).map(|s| {
            if let Ok(memory) = s.attach() {
                let end = memory.len().min(5000);
                let _ = memory.write(end - end.min(3), b"abc");
                let _ = memory.to_vec(0..end);
            }
        })),
        5 => drop(ns.shm_stat_index(0, true)),
        6 => drop(Segment::open(ns, Key::new(7)).and_then(|s| s.set_permissions(random.next() as u32, 0, 0o600))),
        7 => drop(ns.sweep()),
        _ => drop(ns.participants()),
    }
}
