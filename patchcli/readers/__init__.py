"""What touches frameworks."""
