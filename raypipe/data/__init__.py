"""Raw rows to a clean, balanced, split dataset. One file is one stage."""
