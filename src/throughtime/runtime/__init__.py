"""A trained run without torch: its bundle, on NumPy and the compiled library alone.

Importing this needs numpy and throughtime, and nothing else that throughtime depends on: install it
by `pip install --no-deps throughtime` beside numpy.

```python
from throughtime.runtime import load

model = load("runs/taxi")
stream = model.stream()
stream.push({"timestamp": "2015-01-31 23:30:00", "value": 26288})
```
"""

from throughtime.runtime.loading import RuntimeModel, load
from throughtime.runtime.parity import ParityError, Verified

__all__ = ["ParityError", "RuntimeModel", "Verified", "load"]
