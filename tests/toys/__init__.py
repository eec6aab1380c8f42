"""Workloads without torch, for tests of everything around them."""
