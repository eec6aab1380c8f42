"""The figures of a sweep: what the file asks for, the numbers behind it, the drawing (only then matplotlib loads)."""
