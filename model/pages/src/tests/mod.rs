//! Tests of the frames' rules on a small machine made of vectors.

mod bytes;
mod cases;
mod model;
mod ops;
mod random;
mod recount;
mod replay;
mod threads;
mod trace;
mod world;
