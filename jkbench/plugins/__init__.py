"""Plugins: found and described by reading their source, imported only when they run."""
