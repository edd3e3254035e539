"""Data sets as arrays, their splits, and mini-batches on the device."""
