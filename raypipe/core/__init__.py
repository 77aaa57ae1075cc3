"""The mathematics of raypipe, free of Ray, torch, files and clocks."""
