"""Controls: cases whose correct verdict is *clean*, though their weights may have been touched."""
