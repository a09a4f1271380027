//! Configuration files of guests and of xl, parsed and checked.
