"""Whether the statistics keep what they promise: ``python benchmarks/statistics.py [--write docs/statistics.md]``.

Simulates every rule of `jkbench.statistics` beside those that were rejected (`simulated/`), prints the tables, and
ends with status 1 where a bar is missed. About two minutes on one core; the same seed gives the same tables.
``--write`` puts them between the marks of the document.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "statistics":  # a script beside this one, or a library it imports, wants the standard library's module
    import importlib.util
    import sysconfig

    path = Path(sysconfig.get_paths()["stdlib"]) / "statistics.py"
    spec = importlib.util.spec_from_file_location("statistics", path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[__name__] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[__name__])

if __name__ == "__main__":
    from simulated.page import main

    sys.exit(main(sys.argv[1:]))
