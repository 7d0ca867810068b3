//! Naming an object on the command line: `ID`, `key:0x4d2`, `shm:ID`, `shm:key:0x4d2`.

use crate::failure::Failure;
use quintet::{Errno, Id, Key, Namespace, Segment, SegmentStatus};
use std::fmt;
use std::str::FromStr;

/// What `--help` says of an OBJECT.
pub const HELP: &str = "ID, key:KEY, shm:ID or shm:key:KEY";

/// An object as a person names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Object {
    class: Class,
    name: Name,
}

/// The three classes of System V IPC objects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Class {
    Shm,
    Sem,
    Msg,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Name {
    Id(Id),
    Key(Key),
}

impl FromStr for Object {
    type Err = String;

    fn from_str(text: &str) -> Result<Object, String> {
        let classes = [("shm:", Class::Shm), ("sem:", Class::Sem), ("msg:", Class::Msg)];
        let prefixed = classes.iter().find_map(|(prefix, class)| Some((*class, text.strip_prefix(prefix)?)));
        let (class, rest) = prefixed.unwrap_or((Class::Shm, text));
        let name = match rest.strip_prefix("key:") {
            Some(key) => Name::Key(key.parse()?),
            None => {
                let id = rest.parse().ok().and_then(|raw| Id::from_raw(raw).ok());
                Name::Id(id.ok_or_else(|| format!("'{text}' names no object: give {HELP}"))?)
            }
        };
        Ok(Object { class, name })
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = match self.class {
            Class::Shm => "segment",
            Class::Sem => "semaphore set",
            Class::Msg => "message queue",
        };
        match self.name {
            Name::Id(id) => write!(f, "{class} {id}"),
            Name::Key(key) => write!(f, "{class} with key {key}"),
        }
    }
}

impl Object {
    /// The segment that is meant.
    pub fn segment(&self, ns: &Namespace) -> Result<Segment, Failure> {
        if self.class != Class::Shm {
            return Err(Failure::new(format!("cannot find the {self}: this version knows shared memory segments only"))
                .errno(Errno::INVAL));
        }
        let found = match self.name {
            Name::Id(id) => Segment::open_id(ns, id),
            Name::Key(key) => Segment::open(ns, key),
        };
        found.map_err(|error| {
            let unknown = matches!(error.errno(), Errno::INVAL | Errno::NOENT);
            let failure = Failure::from(error);
            if unknown { failure.remedy("'quintet ls' shows what is there") } else { failure }
        })
    }

    /// The segment that is meant, with all that is known of it.
    pub fn status(&self, ns: &Namespace) -> Result<SegmentStatus, Failure> {
        let id = self.segment(ns)?.id();
        let found = ns.segments()?.into_iter().find(|s| s.stat.id == id);
        found.ok_or_else(|| Failure::new(format!("the {self} has just been removed")).errno(Errno::IDRM))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form() {
        let named = |class, name| Ok(Object { class, name });
        let id = Id::from_raw(32769).unwrap();
        assert_eq!("32769".parse(), named(Class::Shm, Name::Id(id)));
        assert_eq!("shm:32769".parse(), named(Class::Shm, Name::Id(id)));
        assert_eq!("sem:0".parse(), named(Class::Sem, Name::Id(Id::from_raw(0).unwrap())));
        assert_eq!("key:0x4d2".parse(), named(Class::Shm, Name::Key(Key::new(1234))));
        assert_eq!("msg:key:-1".parse(), named(Class::Msg, Name::Key(Key::new(-1))));
    }

    #[test]
    fn refuses_the_rest() {
        for text in ["", "-1", "x", "shm:", "key:", "key:x", "2147483648", "shm:shm:1", "0x10"] {
            assert!(text.parse::<Object>().is_err(), "{text}");
        }
    }
}
