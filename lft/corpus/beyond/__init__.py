"""What goes past the paper: documents rewritten as answers, constraints beyond length, instructions by translation."""
