"""Commands over :mod:`mrml.tools`."""
