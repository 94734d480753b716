"""Pages from records: Markdown, LaTeX, CSV and figures. Every number comes from a record. Nothing here imports torch.

`leaderboard.write_leaderboard` writes the pages, `render.terminal` shows one on the screen.
"""
