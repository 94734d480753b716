"""Pages from records: Markdown, LaTeX, CSV and a figure for each task. Every number comes from a record.

`write_leaderboard` writes the pages, `terminal_table` shows one on the screen. Nothing here imports torch.
"""

from jkbench.records.select import Chosen
from jkbench.report.leaderboard import write_leaderboard
from jkbench.report.terminal import terminal_table

__all__ = ["Chosen", "terminal_table", "write_leaderboard"]
