//! The module tree of a package: its files, the names that each module defines, and the paths that
//! each module writes.
//!
//! Modules under `#[cfg(test)]` are left out. Modules under any other `cfg` are read, so a file
//! that is compiled for another target counts too.

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use quote::ToTokens;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use syn::visit::Visit;
use syn::{Attribute, Item, Meta, UseTree, Visibility};

pub type FileId = usize;
pub type ModuleId = usize;

/// All targets of one package below its `src` folder.
#[derive(Debug)]
pub struct Package {
    /// The source folder, relative to the repository.
    pub source: String,
    /// Relative to the source folder.
    pub files: Vec<String>,
    pub modules: Vec<Module>,
    /// The library's name in a path, and its root.
    pub library: Option<(String, ModuleId)>,
}

#[derive(Debug)]
pub struct Module {
    pub file: FileId,
    pub parent: Option<ModuleId>,
    /// The root of the target.
    pub root: ModuleId,
    /// Several modules have one name if `cfg` chooses among them.
    pub children: BTreeMap<String, Vec<ModuleId>>,
    /// The items that it defines, macros included.
    pub defined: BTreeSet<String>,
    pub imports: Vec<Import>,
    /// Paths of two or more segments, outside `use` items of the module itself.
    pub paths: Vec<WrittenPath>,
    /// Identifiers outside `use` items that can name an imported item.
    pub named: BTreeSet<String>,
}

/// One leaf of a `use` item.
#[derive(Debug)]
pub struct Import {
    pub path: WrittenPath,
    /// The name in scope; none for a glob.
    pub name: Option<String>,
    /// Whether other modules can take the name from here.
    pub reexport: bool,
    /// Whether it stands inside a function.
    pub local: bool,
}

#[derive(Debug, Clone)]
pub struct WrittenPath {
    pub segments: Vec<String>,
    pub line: usize,
}

impl Package {
    /// Reads the targets below `folder/src`. Returns none if there are none.
    pub fn read(root: &Path, folder: &str) -> Result<Option<Package>, String> {
        let source = root.join(folder).join("src");
        let mut package = Package { source: format!("{folder}/src"), files: Vec::new(), modules: Vec::new(), library: None };
        let library = source.join("lib.rs");
        if library.is_file() {
            let module = package.read_target(&source, library)?;
            package.library = Some((package_name(&root.join(folder)).replace('-', "_"), module));
        }
        let bins = source.join("bin");
        let mut programs = vec![source.join("main.rs")];
        for entry in std::fs::read_dir(&bins).into_iter().flatten().flatten() {
            let path = entry.path();
            programs.push(if path.is_dir() { path.join("main.rs") } else { path });
        }
        programs.retain(|path| path.is_file() && path.extension().is_some_and(|extension| extension == "rs"));
        programs.sort();
        for program in programs {
            package.read_target(&source, program)?;
        }
        Ok((!package.modules.is_empty()).then_some(package))
    }

    fn read_target(&mut self, source: &Path, file: PathBuf) -> Result<ModuleId, String> {
        let root = self.modules.len();
        let children = file.parent().unwrap_or(source).to_owned();
        self.read_file(source, file, children, None, root)
    }

    /// Reads a file as a module; `children` is the folder of its child modules.
    fn read_file(
        &mut self,
        source: &Path,
        path: PathBuf,
        children: PathBuf,
        parent: Option<ModuleId>,
        root: ModuleId,
    ) -> Result<ModuleId, String> {
        let said = |why: &dyn std::fmt::Display| format!("cannot read {}: {why}", path.display());
        let text = std::fs::read_to_string(&path).map_err(|e| said(&e))?;
        let parsed =
            syn::parse_file(&text).map_err(|e| format!("cannot parse {}:{}: {e}", path.display(), e.span().start().line))?;
        let name = path.strip_prefix(source).map_err(|_| said(&"it is outside the source folder"))?;
        let name = name.to_string_lossy().into_owned();
        let file = self.files.iter().position(|known| *known == name).unwrap_or_else(|| {
            self.files.push(name);
            self.files.len() - 1
        });
        let module = self.add(file, parent, root);
        self.read_items(source, &path, &children, module, parsed.items)?;
        Ok(module)
    }

    fn add(&mut self, file: FileId, parent: Option<ModuleId>, root: ModuleId) -> ModuleId {
        self.modules.push(Module {
            file,
            parent,
            root,
            children: BTreeMap::new(),
            defined: BTreeSet::new(),
            imports: Vec::new(),
            paths: Vec::new(),
            named: BTreeSet::new(),
        });
        self.modules.len() - 1
    }

    fn read_items(
        &mut self,
        source: &Path,
        path: &Path,
        children: &Path,
        module: ModuleId,
        items: Vec<Item>,
    ) -> Result<(), String> {
        for mut item in items {
            if is_test(attributes(&item)) {
                continue;
            }
            match item {
                Item::Mod(item) => self.read_mod(source, path, children, module, item)?,
                Item::Use(item) => {
                    let reexport = !matches!(item.vis, Visibility::Inherited);
                    leaves(&item.tree, &mut Vec::new(), &mut |path, name| {
                        self.modules[module].imports.push(Import { path, name, reexport, local: false });
                    });
                }
                _ => {
                    if let Item::Impl(item) = &mut item {
                        item.items.retain(|item| match item {
                            syn::ImplItem::Fn(function) => !is_test(&function.attrs),
                            _ => true,
                        });
                    }
                    let into = &mut self.modules[module];
                    into.defined.extend(name(&item));
                    scan(item.to_token_stream(), &mut Vec::new(), &mut |path| into.paths.push(path), &mut into.named);
                    LocalImports(&mut into.imports).visit_item(&item);
                }
            }
        }
        Ok(())
    }

    fn read_mod(
        &mut self,
        source: &Path,
        path: &Path,
        children: &Path,
        parent: ModuleId,
        item: syn::ItemMod,
    ) -> Result<(), String> {
        let name = item.ident.to_string().trim_start_matches("r#").to_owned();
        let root = self.modules[parent].root;
        let module = match item.content {
            Some((_, items)) => {
                let module = self.add(self.modules[parent].file, Some(parent), root);
                self.modules[parent].children.entry(name.clone()).or_default().push(module);
                self.read_items(source, path, &children.join(&name), module, items)?;
                return Ok(());
            }
            None => {
                let given = item.attrs.iter().find_map(given_path);
                let (file, inner) = match given {
                    Some(given) => {
                        let file = path.parent().unwrap_or(source).join(given);
                        let inner = file.parent().unwrap_or(source).to_owned();
                        (file, inner)
                    }
                    None if children.join(format!("{name}.rs")).is_file() => {
                        (children.join(format!("{name}.rs")), children.join(&name))
                    }
                    None => (children.join(&name).join("mod.rs"), children.join(&name)),
                };
                self.read_file(source, file, inner, Some(parent), root)?
            }
        };
        self.modules[parent].children.entry(name).or_default().push(module);
        Ok(())
    }
}

/// The name in a package's manifest.
fn package_name(folder: &Path) -> String {
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
    let name = manifest.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    name.unwrap_or_default().to_owned()
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The name that an item defines.
fn name(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}

/// Returns `true` if an item is compiled for tests only.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg") && attribute.parse_args::<Meta>().is_ok_and(|condition| needs_test(&condition))
    })
}

fn needs_test(condition: &Meta) -> bool {
    match condition {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("all") => {
            let parser = syn::punctuated::Punctuated::<Meta, syn::Token![,]>::parse_terminated;
            list.parse_args_with(parser).is_ok_and(|conditions| conditions.iter().any(needs_test))
        }
        _ => false,
    }
}

/// The value of `#[path = "..."]`.
fn given_path(attribute: &Attribute) -> Option<String> {
    match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

/// Passes each leaf of a `use` tree on: its path, and the name in scope (none for a glob).
fn leaves(tree: &UseTree, prefix: &mut Vec<(String, Span)>, add: &mut impl FnMut(WrittenPath, Option<String>)) {
    let written = |prefix: &[(String, Span)], line: usize| WrittenPath {
        segments: prefix.iter().map(|(segment, _)| segment.clone()).collect(),
        line,
    };
    match tree {
        UseTree::Path(path) => {
            prefix.push((path.ident.to_string(), path.ident.span()));
            leaves(&path.tree, prefix, add);
            prefix.pop();
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, prefix, add)),
        UseTree::Glob(glob) => add(written(prefix, glob.star_token.spans[0].start().line), None),
        UseTree::Name(leaf) => {
            let line = leaf.ident.span().start().line;
            if leaf.ident == "self" {
                add(written(prefix, line), prefix.last().map(|(name, _)| name.clone()));
            } else {
                prefix.push((leaf.ident.to_string(), leaf.ident.span()));
                add(written(prefix, line), Some(leaf.ident.to_string()));
                prefix.pop();
            }
        }
        UseTree::Rename(leaf) => {
            let depth = prefix.len();
            if leaf.ident != "self" {
                prefix.push((leaf.ident.to_string(), leaf.ident.span()));
            }
            add(written(prefix, leaf.ident.span().start().line), Some(leaf.rename.to_string()));
            prefix.truncate(depth);
        }
    }
}

/// Collects the `use` items inside functions.
struct LocalImports<'a>(&'a mut Vec<Import>);

impl Visit<'_> for LocalImports<'_> {
    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        leaves(&item.tree, &mut Vec::new(), &mut |path, name| {
            self.0.push(Import { path, name, reexport: false, local: true });
        });
    }
}

/// Collects the paths and names in an item's tokens, which include the arguments of macros.
///
/// `prefix` is the path before a group in braces, as in `use crate::{a, b}` inside a macro.
fn scan(tokens: TokenStream, prefix: &mut Vec<String>, add: &mut impl FnMut(WrittenPath), named: &mut BTreeSet<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is = |at: usize, punctuation: char| matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == punctuation);
    let is_separator = |at: usize| is(at, ':') && is(at + 1, ':');
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            // An attribute, of which a documentation comment is one.
            TokenTree::Punct(p) if p.as_char() == '#' => {
                at += if is(at + 1, '!') { 2 } else { 1 };
                if matches!(tokens.get(at), Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Bracket) {
                    at += 1;
                }
            }
            TokenTree::Group(group) => {
                scan(group.stream(), &mut Vec::new(), add, named);
                at += 1;
            }
            TokenTree::Ident(first) => {
                let line = first.span().start().line;
                let is_member = at > 0 && is(at - 1, '.') && !(at > 1 && is(at - 2, '.'));
                let is_lifetime = at > 0 && is(at - 1, '\'');
                let is_absolute = at > 1 && is_separator(at - 2);
                let is_definition = at > 0 && matches!(&tokens[at - 1], TokenTree::Ident(word) if word == "fn");
                let depth = prefix.len();
                prefix.push(first.to_string());
                at += 1;
                let is_called = is(at, '!')
                    || matches!(tokens.get(at), Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis);
                while is_separator(at) {
                    match tokens.get(at + 2) {
                        Some(TokenTree::Ident(next)) => {
                            prefix.push(next.to_string());
                            at += 3;
                        }
                        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                            scan(group.stream(), prefix, add, named);
                            at += 3;
                        }
                        _ => at += 2,
                    }
                }
                if !(is_member || is_lifetime || is_absolute || is_definition) {
                    if prefix.len() > 1 {
                        add(WrittenPath { segments: prefix.clone(), line });
                    }
                    let name = first.to_string();
                    if is_called || prefix.len() > depth + 1 || name.starts_with(char::is_uppercase) {
                        named.insert(name);
                    }
                }
                prefix.truncate(depth);
            }
            _ => at += 1,
        }
    }
}
