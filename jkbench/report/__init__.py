"""Pages from records: Markdown, LaTeX, CSV and figures. Every number comes from a record. Nothing here imports torch.

`leaderboard.write_leaderboard` writes the pages, `terminal.terminal_table` shows one on the screen.
"""
