"""What a file from anywhere must pass before HDF5 follows it."""
