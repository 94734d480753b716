"""Plugins: found and described by reading their plugin, imported only when they run."""
