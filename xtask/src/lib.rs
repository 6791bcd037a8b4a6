//! What surrounds the product: installing what it needs, the lab of network namespaces in
//! which it is shown and tested, guests with other kernels, the demo, and the test command.
//!
//! Nothing here links against xlvs: it is started as a user starts it, and judged by what
//! comes out of the other end of a cable.
#![forbid(unsafe_code)]

pub mod bench;
pub mod churn;
pub mod deb;
pub mod demo;
pub mod failure;
pub mod guest;
pub mod lab;
pub mod oracle;
pub mod setup;
pub mod shell;
pub mod test;
