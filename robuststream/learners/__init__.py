"""Learners: what the network makes of a drawn mini-batch, one file each."""
