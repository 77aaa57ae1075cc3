"""List rows whose label is suspect: what `ray job submit` runs. The flags are those of `raypipe audit`."""

from raypipe.cli import main

if __name__ == "__main__":
    main(command="audit")
