"""Applications of Oozie whose action is ``mrml run``: written, checked, and driven over the server's REST interface."""
