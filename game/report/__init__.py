"""Reports: what a run says, for a terminal, for a script, for a page."""
