"""The engine: one trial from data to record. Data, seeds, budget, optimiser, caching and evaluation are its own."""
