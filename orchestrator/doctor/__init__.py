"""What `sweep doctor` looks at. A check is one function in a module of this folder, marked with `check`."""
