"""Images as arrays: canonical order, fingerprints, splits and few-shot subsets. Nothing here imports torch."""
