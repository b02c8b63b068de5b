"""How the copies of a Gymnasium environment are stepped, each result checked."""
