"""A dataset to a fine-tuned classifier."""
