//! Platform timers, and the calibration of the time-stamp counter.
