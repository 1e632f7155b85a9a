"""What the edits of facts share: whose facts, at which site, solved and judged how; no kind of its own."""
