//! Resolves the paths of a package to the files that define what they name.

use super::modules::{FileId, Import, ModuleId, Package, WrittenPath};
use std::collections::{BTreeMap, BTreeSet};

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Target {
    Module(ModuleId),
    /// An item that this file defines.
    Item(FileId),
    /// Another crate, the standard library, or nothing that the module tree knows.
    Outside,
}

/// The first place where one file names another.
#[derive(Debug, Clone)]
pub struct Site {
    pub line: usize,
    pub path: String,
}

/// The imports between the files of a package.
#[derive(Debug, Default)]
pub struct Imports {
    /// From the file that imports to the file that defines.
    pub arrows: BTreeMap<(FileId, FileId), Site>,
    /// From the file that imports to a file that re-exports a part of the path.
    pub through: BTreeMap<(FileId, FileId), Site>,
}

impl Imports {
    pub fn of(package: &Package) -> Imports {
        let mut imports = Imports::default();
        for module in 0..package.modules.len() {
            imports.add_module(package, module);
        }
        imports
    }

    fn add_module(&mut self, package: &Package, id: ModuleId) {
        let module = &package.modules[id];
        for path in &module.paths {
            let resolution = Resolution::of(package, id, &path.segments);
            self.add(package, id, path, &resolution);
        }
        for import in &module.imports {
            let resolution = Resolution::of(package, id, &import.path.segments);
            let is_used = import.name.as_ref().is_some_and(|name| module.named.contains(name));
            let is_own = |target: Target| match target {
                Target::Module(inner) => is_below(package, inner, id),
                Target::Item(file) => package.modules.iter().enumerate().any(|(n, m)| m.file == file && is_below(package, n, id)),
                Target::Outside => false,
            };
            // A folder's face hands on what its modules define; that alone is no import.
            if import.reexport && !is_used && is_own(resolution.target) {
                continue;
            }
            match (resolution.target, &import.name) {
                (Target::Module(of), None) => self.add_glob(package, id, import, of, &resolution),
                // Paths that begin with the module's name say more about what is imported.
                (Target::Module(_), Some(name)) if module.paths.iter().any(|path| path.segments[0] == *name) => {}
                _ => self.add(package, id, &import.path, &resolution),
            }
        }
    }

    /// A glob imports what the module names of it; if that is nothing the tree knows, the module
    /// itself.
    fn add_glob(&mut self, package: &Package, id: ModuleId, import: &Import, of: ModuleId, resolution: &Resolution) {
        let module = &package.modules[id];
        let mut found = false;
        // Definitions and explicit imports shadow those of a glob.
        let is_known = |name: &str| {
            module.defined.contains(name) || module.imports.iter().any(|import| import.name.as_deref() == Some(name))
        };
        for name in module.named.iter().filter(|name| !is_known(name)) {
            let mut inner = Resolution { through: resolution.through.clone(), ..Resolution::new(id) };
            if let Some(target @ Target::Item(_)) = inner.lookup(package, of, name, Wanted::Item, false) {
                inner.target = target;
                let mut segments = import.path.segments.clone();
                segments.push(name.clone());
                self.add(package, id, &WrittenPath { segments, line: import.path.line }, &inner);
                found = true;
            }
        }
        if !found {
            self.add(package, id, &import.path, resolution);
        }
    }

    fn add(&mut self, package: &Package, from: ModuleId, path: &WrittenPath, resolution: &Resolution) {
        let from = package.modules[from].file;
        let to = match resolution.target {
            Target::Module(module) => package.modules[module].file,
            Target::Item(file) => file,
            Target::Outside => return,
        };
        let note = |arrows: &mut BTreeMap<(FileId, FileId), Site>, to: FileId| {
            let site = Site { line: path.line, path: path.segments.join("::") };
            if from != to {
                let known = arrows.entry((from, to)).or_insert_with(|| site.clone());
                if site.line < known.line {
                    *known = site;
                }
            }
        };
        note(&mut self.arrows, to);
        for hop in &resolution.through {
            if *hop != to {
                note(&mut self.through, *hop);
            }
        }
    }
}

/// Returns `true` if a module is another one, or inside it.
fn is_below(package: &Package, mut inner: ModuleId, outer: ModuleId) -> bool {
    loop {
        if inner == outer {
            return true;
        }
        match package.modules[inner].parent {
            Some(parent) => inner = parent,
            None => return false,
        }
    }
}

/// Which of two items of one name a path means: `send` may be a module and a function.
#[derive(Clone, Copy, PartialEq)]
enum Wanted {
    Module,
    Item,
}

/// A path on its way to what it names.
struct Resolution {
    /// The module that writes the path. It sees private names of the modules around it.
    from: ModuleId,
    target: Target,
    /// The files with the re-exports on the way.
    through: Vec<FileId>,
    /// The names already looked up: re-exports can refer to each other in a cycle.
    seen: BTreeSet<(ModuleId, String)>,
}

impl Resolution {
    fn new(from: ModuleId) -> Resolution {
        Resolution { from, target: Target::Outside, through: Vec::new(), seen: BTreeSet::new() }
    }

    fn of(package: &Package, from: ModuleId, segments: &[String]) -> Resolution {
        let mut resolution = Resolution::new(from);
        resolution.target = resolution.follow(package, from, segments);
        resolution
    }

    fn follow(&mut self, package: &Package, from: ModuleId, segments: &[String]) -> Target {
        let Some((first, rest)) = segments.split_first() else { return Target::Outside };
        let module = &package.modules[from];
        let wanted = |rest: &[String]| if rest.is_empty() { Wanted::Item } else { Wanted::Module };
        let mut at = match first.as_str() {
            "crate" => Target::Module(module.root),
            "self" => Target::Module(from),
            "super" => module.parent.map_or(Target::Outside, Target::Module),
            name => match (self.lookup(package, from, name, wanted(rest), true), &package.library) {
                (Some(target), _) => target,
                (None, Some((library, root))) if name == library && module.root != *root => Target::Module(*root),
                (None, _) => return Target::Outside,
            },
        };
        for (nth, name) in rest.iter().enumerate() {
            let Target::Module(module) = at else { break };
            at = match name.as_str() {
                "super" => package.modules[module].parent.map_or(Target::Outside, Target::Module),
                "self" => at,
                // What a macro defines is not in the tree: it is taken for the module's own.
                name => self
                    .lookup(package, module, name, wanted(&rest[nth + 1..]), false)
                    .unwrap_or(Target::Item(package.modules[module].file)),
            };
        }
        at
    }

    /// Looks a name up in a module; `is_own`: on behalf of the module itself, which sees more.
    fn lookup(&mut self, package: &Package, module: ModuleId, name: &str, wanted: Wanted, is_own: bool) -> Option<Target> {
        if !self.seen.insert((module, name.to_owned())) {
            return None;
        }
        let found = self.lookup_once(package, module, name, wanted, is_own);
        self.seen.remove(&(module, name.to_owned()));
        found
    }

    fn lookup_once(&mut self, package: &Package, id: ModuleId, name: &str, wanted: Wanted, is_own: bool) -> Option<Target> {
        let module = &package.modules[id];
        let child = module.children.get(name).and_then(|modules| modules.first()).map(|module| Target::Module(*module));
        let item = module.defined.contains(name).then_some(Target::Item(module.file));
        let direct = if wanted == Wanted::Module { child.or(item) } else { item.or(child) };
        if direct.is_some() {
            return direct;
        }
        // A private import is visible inside the module only, and a local one in the module itself.
        let is_inside = is_below(package, self.from, id);
        let visible = |import: &&Import| import.reexport || is_own || is_inside && !import.local;
        if let Some(import) = module.imports.iter().filter(visible).find(|import| import.name.as_deref() == Some(name)) {
            let mut inner = Resolution { seen: std::mem::take(&mut self.seen), ..Resolution::new(id) };
            let target = inner.follow(package, id, &import.path.segments);
            self.seen = std::mem::take(&mut inner.seen);
            let target = match target {
                Target::Outside if is_own => Target::Outside,
                // A name of another crate that this module hands on is the module's own.
                Target::Outside => Target::Item(module.file),
                target => target,
            };
            if !is_own && target != Target::Item(module.file) {
                self.through.push(module.file);
            }
            self.through.append(&mut inner.through);
            return Some(target);
        }
        for glob in module.imports.iter().filter(visible).filter(|import| import.name.is_none()) {
            let mut inner = Resolution { seen: std::mem::take(&mut self.seen), ..Resolution::new(id) };
            let target = match inner.follow(package, id, &glob.path.segments) {
                Target::Module(of) => inner.lookup(package, of, name, wanted, false),
                _ => None,
            };
            self.seen = std::mem::take(&mut inner.seen);
            if target.is_some() {
                if !is_own {
                    self.through.push(module.file);
                }
                self.through.append(&mut inner.through);
                return target;
            }
        }
        None
    }
}
