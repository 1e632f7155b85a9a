"""The parts of `benchmarks.tool_matrix`: what is read off each tool, on which pairs, and what it comes to."""
