"""Tasks: what is benchmarked, declared in one TOML file each."""
