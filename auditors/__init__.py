"""Blue strategies, one a file: a frozen dataclass whose `audit` returns a report."""
