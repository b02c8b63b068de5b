"""Reports of runs and comparisons: one HTML file that opens offline."""
