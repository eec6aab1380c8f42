"""The report of a sweep: one page that says what was asked, what came out, how, and from which numbers."""
