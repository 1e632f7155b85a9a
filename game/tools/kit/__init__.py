"""What tools are made of: results and views, batches and sweeps, the mathematics that several share."""
