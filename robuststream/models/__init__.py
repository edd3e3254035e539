"""Networks: one file each, found by its name. Inputs lie in [0, 1]; normalisation is a layer of the built network."""
