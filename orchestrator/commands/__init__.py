"""What each command does: reads the request, calls the parts in the order of the flow, prints. One module a family."""
