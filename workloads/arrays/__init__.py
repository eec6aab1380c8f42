"""S networks as one: stacked weights, and for each layer a twin that computes all S at once.

Feature maps are (N, S*C, H, W), the networks' channels side by side; vectors and logits are (S, N, F). A single network
is the array of one.
"""
