"""From what an auditor said to a score."""
