//! From verdicts to pipelined loops to PTX.
