//! Creates a namespace: `create_namespace DIR [shared]`.

use quintet::{Kind, Namespace};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().ok_or("usage: create_namespace DIR [shared]")?;
    let kind = if args.next().is_some() { Kind::Shared } else { Kind::Private };
    println!("{}", Namespace::create(dir, kind)?.path().expect("a directory").display());
    Ok(())
}
