"""Fine-tune a model, then evaluate it: what `ray job submit` runs. The flags are those of `raypipe train`."""

from raypipe.cli import main

if __name__ == "__main__":
    main(command="train")
