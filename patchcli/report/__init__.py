"""What touches eyes."""
