"""Python reads this first when this folder is on its path: a defect is planted before anything is imported.

Only `tests/prove/frame.py` puts it there, for one process and those it starts.
"""

import os

if "PLANTED_DEFECT" in os.environ:
    from tests.prove.frame import plant

    plant(os.environ["PLANTED_DEFECT"])
