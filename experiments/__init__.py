"""Scripts that each answer one question and write one folder of results/."""
