"""Label new text: what `ray job submit` runs. The flags are those of `raypipe predict`."""

from raypipe.cli import main

if __name__ == "__main__":
    main(command="predict")
