"""A run as one page of HTML, which asks nothing of the network."""
