"""Sweep learning rates: what `ray job submit` runs. The flags are those of `raypipe sweep`."""

from raypipe.cli import main

if __name__ == "__main__":
    main(command="sweep")
