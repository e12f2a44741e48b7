//! Compiles `proto/`, for which no protoc is needed, and notes the compiler's version.

use std::error::Error;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rustc-env=MAINSTEM_RUSTC={}", rustc().as_deref().unwrap_or("unknown"));
    let files = protox::compile(["external.proto"], ["proto"])?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    // The server is this program's, the client its tests'.
    for (name, server) in [("server", true), ("client", false)] {
        let folder = out.join(name);
        fs::create_dir_all(&folder)?;
        tonic_prost_build::configure()
            .build_server(server)
            .build_client(!server)
            .build_transport(false)
            .out_dir(folder)
            .compile_fds(files.clone())?;
    }
    Ok(())
}

/// Its version: the second word of `rustc 1.90.0 (..)`.
fn rustc() -> Option<String> {
    let output = Command::new(env::var_os("RUSTC")?).arg("--version").output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.split_whitespace().nth(1)?.to_owned())
}
