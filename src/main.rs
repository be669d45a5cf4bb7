//! hubsyncd.
fn main() {}
