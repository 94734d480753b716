"""Records: what a trial leaves behind, where it is kept, and how files are merged. Nothing here imports torch."""
