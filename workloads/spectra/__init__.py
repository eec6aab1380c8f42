"""Spectra of the linear maps in a network and of its loss: numerics that measures and events stand on."""
