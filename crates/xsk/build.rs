//! Compiles the BPF programs; they are embedded in the crate.

use std::{env, path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=bpf");
    println!("cargo::rerun-if-env-changed=CLANG");
    for program in ["match", "generator"] {
        if let Err(reason) = compile(program) {
            println!("cargo::error={reason}");
        }
    }
}

fn compile(program: &str) -> Result<(), String> {
    let variable = |name: &str| env::var(name).map_err(|error| format!("{name}: {error}"));
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let source = format!("bpf/{program}.bpf.c");
    let object = Path::new(&variable("OUT_DIR")?).join(format!("{program}.bpf.o"));
    let order = if variable("CARGO_CFG_TARGET_ENDIAN")? == "big" { "bpfeb" } else { "bpfel" };
    // Debian keeps asm/types.h in the directory of the architecture.
    let headers = format!("/usr/include/{}-linux-gnu", variable("CARGO_CFG_TARGET_ARCH")?);
    let output = Command::new(&clang)
        .args(["-O2", "-g", "-mcpu=v3", "-Wall", "-Wextra", "-Werror", "-target", order])
        .args(["-idirafter", &headers, "-c", &source, "-o"])
        .arg(&object)
        .output()
        .map_err(|error| {
            format!("{clang}: {error}: the XDP programs are compiled by clang; on Debian: apt install clang")
        })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let hint = if said.contains("file not found") {
        "; on Debian: apt install linux-libc-dev"
    } else {
        ""
    };
    Err(format!("{clang} refused {source}{hint}: {}", said.replace('\n', " | ")))
}
