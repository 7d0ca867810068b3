//! Mappings of the files of objects.
