"""What a sweep file may say: reading it, checking it, and what it becomes."""
