"""Records: what a trial leaves behind, where it is stored, and how files are merged. Nothing here imports torch."""
