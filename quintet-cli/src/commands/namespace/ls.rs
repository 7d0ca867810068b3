//! `quintet namespace ls`: lists namespaces.

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output::table::{Column, Row, Table};
use crate::output::text::Page;
use crate::output::{Report, clean, emit};
use crate::system::users::Users;
use crate::view::namespace::NamespaceView;
use crate::view::perm::UserView;
use quintet::Namespace;
use serde::Serialize;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

const EXAMPLES: &str = "\
EXAMPLES:
  quintet namespace ls
  quintet --namespace /srv/ipc namespace ls    with one that is elsewhere";

/// List the namespaces that you can open: the default one, those under /dev/shm, the kernel's
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {}

#[derive(Serialize)]
struct Entry {
    #[serde(flatten)]
    namespace: NamespaceView,
    default: bool,
    owner: UserView,
    segments: u32,
    sets: u32,
    queues: u32,
    bytes: u64,
    processes: Option<usize>,
}

#[derive(Serialize)]
struct NamespaceListing {
    namespaces: Vec<Entry>,
}

impl Report for NamespaceListing {
    fn text(&self, page: &mut Page) -> io::Result<()> {
        let mut table = Table::new(vec![
            Column::left("NAMESPACE"),
            Column::left("KIND"),
            Column::left("OWNER"),
            Column::right("SEGMENTS"),
            Column::right("SETS"),
            Column::right("QUEUES"),
            Column::right("BYTES"),
            Column::right("PROCESSES"),
        ]);
        for entry in &self.namespaces {
            let default = if entry.default { " (default)" } else { "" };
            let name = entry.namespace.path.as_deref().map_or("-".to_owned(), clean);
            table.push(Row::new(vec![
                format!("{name}{default}"),
                entry.namespace.kind.to_owned(),
                entry.owner.user.clone(),
                entry.segments.to_string(),
                entry.sets.to_string(),
                entry.queues.to_string(),
                entry.bytes.to_string(),
                entry.processes.map_or("-".to_owned(), |n| n.to_string()),
            ]));
        }
        table.print(page)
    }
}

pub fn run(context: &Context, _: &Args) -> Outcome {
    context.refuse_kernel()?;
    let users = Users::load();
    let mut paths = vec![context.namespace_path()];
    paths.extend(under_dev_shm());
    let mut namespaces: Vec<Entry> = Vec::new();
    for path in paths {
        // A directory that is missing, closed to the caller or no namespace is not listed.
        let Ok(ns) = Namespace::open(&path) else { continue };
        let Some(entry) = entry(&ns, &users) else { continue };
        if namespaces.iter().all(|known| known.namespace.path != entry.namespace.path) {
            namespaces.push(entry);
        }
    }
    namespaces.extend(entry(&Namespace::kernel(), &users));
    emit(context, &NamespaceListing { namespaces })?;
    Ok(Exit::Success)
}

/// Returns the directories under /dev/shm that may be namespaces.
fn under_dev_shm() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    let named = entries.filter(|e| e.file_name().as_encoded_bytes().starts_with(b"quintet-"));
    let mut paths: Vec<PathBuf> = named.map(|e| e.path()).collect();
    // Hidden namespaces are one level deeper, in a directory that only its owner can list.
    let deeper: Vec<PathBuf> = paths.iter().flat_map(std::fs::read_dir).flatten().flatten().map(|e| e.path()).collect();
    paths.extend(deeper.into_iter().filter(|path| path.join("namespace").is_file()));
    paths.sort();
    paths
}

fn entry(ns: &Namespace, users: &Users) -> Option<Entry> {
    let segments = ns.segments().ok()?;
    let (uid, gid) = match ns.path() {
        Some(path) => path.metadata().map(|m| (m.uid(), m.gid())).ok()?,
        None => (0, 0),
    };
    Some(Entry {
        namespace: NamespaceView::new(ns),
        default: ns.path().is_some_and(|path| path == Namespace::default_path()),
        owner: UserView { uid, gid, user: users.name(uid) },
        segments: segments.len() as u32,
        sets: ns.sem_usage().ok()?.sets,
        queues: ns.msg_usage().ok()?.queues,
        bytes: segments.iter().map(|s| s.stat.size).fold(0, u64::saturating_add),
        processes: ns.path().and_then(|_| ns.participants().ok()).map(|p| p.len()),
    })
}
