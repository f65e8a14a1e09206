"""What touches processes."""
