//! Compiles `proto/`. No protoc is needed.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use protox::Compiler;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);

    // For clients: the contract and what it imports, without comments.
    let mut contract = Compiler::new(["proto"])?;
    contract.include_imports(true).include_source_info(false).open_file("acs7.proto")?;
    fs::write(out.join("acs7.bin"), contract.encode_file_descriptor_set())?;

    let mut files = protox::compile(["crosschain_rpc.proto"], ["proto"])?;
    for file in &mut files.file {
        // A contract's methods are called by transactions, not by gRPC.
        if file.package() == "acs7" {
            file.service.clear();
        }
    }
    let mut config = prost_build::Config::new();
    // Maps in order: the same message, the same bytes.
    config.btree_map(["."]);
    #[cfg(not(feature = "grpc"))]
    config.compile_fds(files)?;
    #[cfg(feature = "grpc")]
    tonic_prost_build::configure()
        // It would connect by itself; how to connect is not the messages' affair.
        .build_transport(false)
        .compile_fds_with_config(files, config)?;
    Ok(())
}
