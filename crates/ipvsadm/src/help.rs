//! The help and the version, as ipvsadm prints them.

/// What `-v` prints, and the first line of the help; ends its line.
pub const VERSION: &str = "ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)\n";

/// The help; `name` is the program's name as it was typed.
pub fn usage(name: &str) -> String {
    format!("{VERSION}{}", include_str!("help.txt").replace("{name}", name))
}
