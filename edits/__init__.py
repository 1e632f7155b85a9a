"""The red side: edits and controls, each a pure function from a checkpoint and a specification."""
