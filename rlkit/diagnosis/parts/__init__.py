"""The parts of an examination: what is looked at in what was played."""
