"""Clean, balance and split raw text: what `ray job submit` runs. The flags are those of `raypipe prepare`."""

from raypipe.cli import main

if __name__ == "__main__":
    main(command="prepare")
