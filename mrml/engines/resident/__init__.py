"""Tasks that stay for a whole run and serve its rounds over sockets: see :mod:`.engine`."""
