"""What a plan is made of, and what can be said about it before anything runs."""
