"""Claims of papers measured on our models: a file a paper, with `measured() -> Mapping[str, Figure]`."""
