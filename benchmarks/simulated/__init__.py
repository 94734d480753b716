"""The simulations behind `docs/statistics.md`."""
