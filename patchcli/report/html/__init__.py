"""One HTML page with all of an inspection."""
