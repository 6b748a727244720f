"""``import torch`` gives jtorch, for programs that are not to be changed.

``python -m jtorch script.py`` calls :func:`install` and :func:`install_in_children`. Two mechanisms share the work:

* In this process a finder on ``sys.meta_path`` (``finder.py``) answers for ``torch`` and everything below it.
* The folder ``path/`` holds a package ``torch``, whose import installs the finder, and the metadata of a distribution
  ``torch`` of the version that jtorch follows. It stands on ``sys.path`` and in ``PYTHONPATH`` before the installed
  packages. So child processes find jtorch too, and ``importlib.util.find_spec`` and ``importlib.metadata.version``
  answer for it before anything is imported.

PyTorch itself, if it is installed, is never imported.
"""

from .children import install_in_children
from .finder import install

__all__ = ["install", "install_in_children"]
