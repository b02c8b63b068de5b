"""A person as labeller: a page that shows two segments, and a file that keeps the answers."""
