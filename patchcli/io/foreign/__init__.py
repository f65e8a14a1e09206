"""Files of other programs, looked at by a process with limits."""
