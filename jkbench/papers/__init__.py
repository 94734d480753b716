"""A paper's tables beside the published numbers, and its theory checked."""
