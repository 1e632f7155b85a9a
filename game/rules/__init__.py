"""What an auditor may say: a rule a file; what breaks one is a `ReportError` that says what is allowed."""
