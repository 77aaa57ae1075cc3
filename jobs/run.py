"""Prepare, train and evaluate from one TOML file: what `ray job submit` runs. The flags are those of `raypipe run`."""

from raypipe.cli import main

if __name__ == "__main__":
    main(command="run")
