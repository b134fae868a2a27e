"""Benchmarks: programs that print figures, not tests that pass or fail. Run by `make bench-...`."""
