"""What the learners of tables share: options, step sizes, traces, and the class around them."""
