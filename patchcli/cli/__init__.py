"""What touches the user."""
