"""One page that shows a leaderboard folder: it needs no network, and its tables and figures need no script."""
