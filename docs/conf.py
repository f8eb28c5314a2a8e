"""How Sphinx builds these pages: ``make docs``.

Pages that follow from the program alone (every option of every command, every hyperparameter) are written to
``docs/generated`` at each build; they are not checked in.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from mrml.cli import reference  # noqa: E402
from mrml.version import __version__  # noqa: E402

reference.write_pages(HERE / "generated")

project = "mrml"
author = "the mrml developers"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 3

smartquotes = False  # options stay as they are typed
autosummary_generate = False  # numpydoc loads it
autodoc_mock_imports = ["airflow"]  # it lives in an environment of its own
# what scikit-learn's metadata routing adds to every estimator
autodoc_default_options = {"exclude-members": "set_fit_request, set_predict_request, set_score_request, dtype"}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
add_module_names = False
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "furo"
html_title = f"mrml {__version__}"
html_show_sphinx = False
html_copy_source = False
