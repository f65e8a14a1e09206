"""What touches the disk; the only place that knows h5py and Pillow."""
