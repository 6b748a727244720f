"""``python -m jtorch.distributed.launch``: the earlier name of :mod:`jtorch.distributed.run`."""

from jtorch.distributed.run import main

if __name__ == "__main__":
    main()
