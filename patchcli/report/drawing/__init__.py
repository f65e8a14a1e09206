"""Pictures: contact sheets, and images with their patches outlined."""
