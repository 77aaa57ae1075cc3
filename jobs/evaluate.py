"""Score a model on labelled text: what `ray job submit` runs. The flags are those of `raypipe evaluate`."""

from raypipe.cli import main

if __name__ == "__main__":
    main(command="evaluate")
