"""A driver in a container of YARN (``mrml train --driver cluster``): sent from here, followed from anywhere."""
