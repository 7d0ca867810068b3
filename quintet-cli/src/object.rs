//! Naming an object on the command line: `ID`, `key:0x4d2`, `shm:ID`, `shm:key:0x4d2`, `sem:ID`, `sem:key:0x4d2`.

use crate::failure::Failure;
use quintet::{Errno, Id, Key, Namespace, Segment, SegmentStatus, SemaphoreSet, SetStatus};
use std::fmt;
use std::str::FromStr;

/// What `--help` says of an OBJECT.
pub const HELP: &str = "ID or key:KEY of a segment; sem:ID or sem:key:KEY of a semaphore set (shm: of a segment, too)";

/// What `--help` says of an OBJECT that must be a segment.
pub const SEGMENT_HELP: &str = "ID or key:KEY of a segment";

/// What `--help` says of a SET.
pub const SET_HELP: &str = "ID or key:KEY of the set (sem:ID and sem:key:KEY, too)";

/// An object as a person names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Object {
    class: Class,
    name: Name,
}

/// A semaphore set as a person names it: an object whose class need not be said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Set(Object);

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

/// An object, with all that is known of it.
pub enum Status {
    Shm(SegmentStatus),
    Sem(SetStatus),
}

impl FromStr for Object {
    type Err = String;

    fn from_str(text: &str) -> Result<Object, String> {
        Object::parse(text, Class::Shm).ok_or_else(|| format!("'{text}' names no object: give {HELP}"))?
    }
}

impl FromStr for Set {
    type Err = String;

    fn from_str(text: &str) -> Result<Set, String> {
        let object =
            Object::parse(text, Class::Sem).ok_or_else(|| format!("'{text}' names no semaphore set: give {SET_HELP}"))?;
        match object? {
            set @ Object { class: Class::Sem, .. } => Ok(Set(set)),
            other => Err(format!("the {other} is no semaphore set: give {SET_HELP}")),
        }
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
    /// Reads a name whose class is `class` if it does not say one; `None` if it is not of the form.
    fn parse(text: &str, class: Class) -> Option<Result<Object, String>> {
        let classes = [("shm:", Class::Shm), ("sem:", Class::Sem), ("msg:", Class::Msg)];
        let prefixed = classes.iter().find_map(|(prefix, class)| Some((*class, text.strip_prefix(prefix)?)));
        let (class, rest) = prefixed.unwrap_or((class, text));
        let name = match rest.strip_prefix("key:") {
            Some(key) => key.parse().map(Name::Key),
            None => Ok(Name::Id(rest.parse().ok().and_then(|raw| Id::from_raw(raw).ok())?)),
        };
        Some(name.map(|name| Object { class, name }))
    }

    /// The segment that is meant.
    pub fn segment(&self, ns: &Namespace) -> Result<Segment, Failure> {
        if self.class != Class::Shm {
            return Err(Failure::new(format!("the {self} is no segment, and has no bytes")).errno(Errno::INVAL));
        }
        let found = match self.name {
            Name::Id(id) => Segment::open_id(ns, id),
            Name::Key(key) => Segment::open(ns, key),
        };
        found.map_err(|error| {
            let unknown = matches!(error.errno(), Errno::INVAL | Errno::NOENT);
            let failure = Failure::from(error);
            if unknown { failure.remedy(self.elsewhere(ns)) } else { failure }
        })
    }

    /// What to do where no segment is found: there may be a set of this name.
    fn elsewhere(&self, ns: &Namespace) -> String {
        match Set(Object { class: Class::Sem, ..*self }).find(ns) {
            Ok(id) => format!("there is a semaphore set of this name: sem:{id}"),
            Err(_) => "'quintet ls' shows what is there".to_owned(),
        }
    }

    /// The object that is meant, with all that is known of it.
    pub fn status(&self, ns: &Namespace) -> Result<Status, Failure> {
        let found = match self.class {
            Class::Shm => {
                let id = self.segment(ns)?.id();
                ns.segments()?.into_iter().find(|s| s.stat.id == id).map(Status::Shm)
            }
            Class::Sem => {
                let id = Set(*self).find(ns)?;
                sets(ns)?.into_iter().find(|s| s.stat.id == id).map(Status::Sem)
            }
            Class::Msg => {
                return Err(
                    Failure::new(format!("cannot find the {self}: this version knows no message queues")).errno(Errno::INVAL)
                );
            }
        };
        found.ok_or_else(|| Failure::new(format!("the {self} has just been removed")).errno(Errno::IDRM))
    }
}

impl Set {
    /// The set's identifier.
    pub fn find(&self, ns: &Namespace) -> Result<Id, Failure> {
        let found = match self.0.name {
            Name::Id(id) => SemaphoreSet::open_id(ns, id),
            Name::Key(key) => SemaphoreSet::open(ns, key),
        };
        found.map(|set| set.id()).map_err(|error| {
            let unknown = matches!(error.errno(), Errno::INVAL | Errno::NOENT);
            let failure = Failure::from(error);
            if unknown { failure.remedy("'quintet ls' shows what is there") } else { failure }
        })
    }
}

/// All sets of a namespace.
pub fn sets(ns: &Namespace) -> Result<Vec<SetStatus>, Failure> {
    ns.sets().map_err(|e| Failure::new(format!("cannot list the semaphore sets: {e}")).errno(e))
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
    fn a_set_needs_no_class() {
        let set = |name| Ok(Set(Object { class: Class::Sem, name }));
        let id = Id::from_raw(7).unwrap();
        assert_eq!("7".parse(), set(Name::Id(id)));
        assert_eq!("sem:7".parse(), set(Name::Id(id)));
        assert_eq!("key:5".parse(), set(Name::Key(Key::new(5))));
        assert_eq!("sem:key:5".parse(), set(Name::Key(Key::new(5))));
        assert!("shm:7".parse::<Set>().unwrap_err().contains("the segment 7 is no semaphore set"));
        assert!("x".parse::<Set>().unwrap_err().contains("names no semaphore set"));
    }

    #[test]
    fn refuses_the_rest() {
        for text in ["", "-1", "x", "shm:", "key:", "key:x", "2147483648", "shm:shm:1", "0x10"] {
            assert!(text.parse::<Object>().is_err() && text.parse::<Set>().is_err(), "{text}");
        }
    }
}
