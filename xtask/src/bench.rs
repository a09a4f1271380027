//! Stub.
use anyhow::Result;
/// Args.
#[derive(clap::Args)]
#[group(skip)]
pub struct Args {}
/// Main.
pub fn main(_: &Args) -> Result<()> {
    Ok(())
}
