"""``python -m jkbench``."""

from jkbench.cli import main

main()
