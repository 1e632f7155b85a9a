"""How the benchmark of auditors plays, counts and writes."""
