//! Stub.
use anyhow::Result;
/// Args.
#[derive(clap::Args)]
pub struct Args {}
/// Main.
pub fn main(_: &Args) -> Result<()> { Ok(()) }
