"""What `benchmarks.fuzz` throws at every door through which somebody else's bytes come in."""
