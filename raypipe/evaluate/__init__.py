"""A classifier to its scores, with error bars and baselines."""
